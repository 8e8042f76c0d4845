// Stands in for the vendor's libbmlib and libbmrt in tests that want several chips, an order of
// events, or no emulator. Its networks are no BLIP: they compute numbers (fake_numbers.h) that show
// whether the right memory of the right chip was used. Memory that is not of the chip, or not large
// enough, ends the program.
//
// A fake bmodel is a real one's head (bmodel_file.h) followed by lines of text:
//   network NAME KIND CORES
//   in TYPE DIMS        TYPE: 0 f32, 6 int32; DIMS: 1,3,8,8
//   out TYPE DIMS
//
// Environment:
// - BLIP_FAKE_CHIPS: how many chips; default 1.
// - BLIP_FAKE_CHIP: their number, as bm_get_chipid gives it: 0x1686 (default), 0x1686a200 (two
//   cores), 0x1684.
// - BLIP_FAKE_LOG: a file to append events to: "launch CHIP CORES NAME", "done CHIP CORES NAME",
//   "copy CHIP", "met", "alone", "gate", "no gate".
// - BLIP_FAKE_MEET: N: the first launch does not end before N launches run at the same time
// ("met"),
//   or 20 s ("alone"). What follows a comma is not read: another text is another meeting.
// - BLIP_FAKE_GATE: a path: the first launch does not end before that file exists ("gate"), or 20 s
//   ("no gate").
// - BLIP_FAKE_GARBLED: a number ("nan", "1e6"): all that networks give is it.
// - BLIP_FAKE_COPIES: 0: copies on the chip do nothing and say all went well.
// - BLIP_FAKE_FAULTS: a file that is read at every call, lines of "CHIP CALL FAULT". CALL: request,
//   load, allocate, free, upload, download, copy, launch, sync, any, or late (a sync that fails
//   after the time of bm_set_sync_timeout). FAULT: fail, fail N (the Nth such call since this file
//   was named, alone), or hang (it does not return while the line is there).
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "backend/sophon/abi.h"
#include "fake_numbers.h"

using namespace blip::backend::sophon::abi;

namespace {

constexpr auto kPatience = std::chrono::seconds(20);

// Threads that were left behind at a call may still be in it when the program ends: what they use
// is never destroyed.

std::string setting(const char* name, const char* otherwise = "") {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "fake chip: %s\n", why.c_str());
  std::_Exit(97);
}

void log_event(const std::string& event) {
  static std::mutex mutex;
  const std::string path = setting("BLIP_FAKE_LOG");
  if (path.empty()) return;
  const std::lock_guard lock(mutex);
  std::ofstream(path, std::ios::app) << event << std::endl;
}

struct Chip {
  int id;
  std::mutex mutex;
  std::map<unsigned long, unsigned> memory;  // address -> bytes
  // by core; run when somebody waits for them
  std::map<int, std::deque<std::function<void()>>> queues;

  void* at(const Memory& m, std::size_t bytes) {
    const std::lock_guard lock(mutex);
    auto block = memory.upper_bound(m.address.device_addr);
    if (block == memory.begin()) die("memory that is not of chip " + std::to_string(id));
    --block;
    if (m.address.device_addr + bytes > block->first + block->second || bytes > m.size)
      die("memory of chip " + std::to_string(id) + " is too small");
    return reinterpret_cast<void*>(m.address.device_addr);
  }

  // Work that was launched and failed: its memory may be gone when others synchronize.
  void give_up(int core) {
    const std::lock_guard lock(mutex);
    queues[core].clear();
  }
  void finish(int core) {
    std::unique_lock lock(mutex);
    auto& queue = queues[core];
    while (!queue.empty()) {
      const auto work = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      work();
      lock.lock();
    }
  }
};

struct Value {
  DataType type;
  Shape shape;
  std::size_t count() const {
    std::size_t n = 1;
    for (int i = 0; i < shape.num_dims; ++i) n *= static_cast<std::size_t>(shape.dims[i]);
    return n;
  }
};

struct FakeNetwork {
  std::string name, kind;
  int cores = 1;
  std::vector<Value> inputs, outputs;
  // What network_info points to.
  std::vector<const char*> names;
  std::vector<DataType> input_types, output_types;
  std::vector<Shape> input_shapes, output_shapes;
  std::vector<std::size_t> input_bytes, output_bytes;
  Stage stage;
  NetworkInfo info;
};

struct Runtime {
  Chip* chip;
  std::vector<std::unique_ptr<FakeNetwork>> networks;
};

Value read_value(std::istringstream& line) {
  int type = 0;
  std::string dims;
  line >> type >> dims;
  Value value{static_cast<DataType>(type), {}};
  std::istringstream list(dims);
  for (std::string dim; std::getline(list, dim, ',');)
    value.shape.dims[value.shape.num_dims++] = std::stoi(dim);
  return value;
}

void describe(FakeNetwork& n) {
  n.names.assign(std::max(n.inputs.size(), n.outputs.size()), "value");
  for (const Value& v : n.inputs) {
    n.input_types.push_back(v.type);
    n.input_shapes.push_back(v.shape);
    n.input_bytes.push_back(4 * v.count());
  }
  for (const Value& v : n.outputs) {
    n.output_types.push_back(v.type);
    n.output_shapes.push_back(v.shape);
    n.output_bytes.push_back(4 * v.count());
  }
  n.stage = {n.input_shapes.data(), n.output_shapes.data(), nullptr, nullptr};
  n.info = {};
  n.info.name = n.name.c_str();
  n.info.input_num = static_cast<int>(n.inputs.size());
  n.info.input_names = n.info.output_names = n.names.data();
  n.info.input_dtypes = n.input_types.data();
  n.info.output_num = static_cast<int>(n.outputs.size());
  n.info.output_dtypes = n.output_types.data();
  n.info.stage_num = 1;
  n.info.stages = &n.stage;
  n.info.max_input_bytes = n.input_bytes.data();
  n.info.max_output_bytes = n.output_bytes.data();
  n.info.core_num = n.cores;
}

// Is there a line for this call? fail: whether it says so, else it says to hang.
bool has_fault(const std::string& path, int chip, const std::string& call, int number, bool& fail) {
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    int of_chip = -1, of_number = 0;
    std::string of_call, fault;
    line >> of_chip >> of_call >> fault >> of_number;
    if (of_chip != chip || (of_call != call && (of_call != "any" || call == "late"))) continue;
    if (of_number != 0 && of_number != number) continue;
    fail = fault == "fail";
    return true;
  }
  return false;
}

// false: the call is to fail. Returns late, or never, where it is to hang.
bool goes_well(int chip, const std::string& call) {
  const std::string path = setting("BLIP_FAKE_FAULTS");
  if (path.empty()) return true;
  static std::mutex mutex;
  static auto& numbers = *new std::map<std::pair<int, std::string>, int>;  // as above
  static auto& counted = *new std::string;
  int number = 0;
  {
    const std::lock_guard lock(mutex);
    if (path != counted) numbers.clear();
    counted = path;
    number = ++numbers[{chip, call}];
  }
  bool fail = false, hung = false;
  while (has_fault(path, chip, call, number, fail)) {
    if (fail) return false;
    if (!hung) log_event("hang " + std::to_string(chip) + " " + call);
    hung = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

// The inputs and outputs of a launch as arrays.
struct Arrays {
  std::vector<std::vector<float>> in;
  std::vector<std::span<float>> out;
  std::vector<Shape> in_shapes, out_shapes;
};

// A text of ids and mask: those that are not hidden. shown: what the mask says of them.
std::uint64_t digest_of_text(std::span<const float> ids, std::span<const float> mask,
                             float shown = 0) {
  std::uint64_t hash = fake::kSeed;
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (mask[i] == shown) hash = fake::mix(hash, static_cast<std::uint64_t>(ids[i]));
  return hash;
}

void fill(std::span<float> out, std::uint64_t hash) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = fake::number(fake::mix(hash, i));
}

// A cache row is [K, C, h]: a token's id + 1 stands in its slot of the first and of the last of the
// K. parents: the row of the cache that each row continues.
void step(Arrays& a, int rows, int fed, bool prefill, const std::vector<float>& parents) {
  const Shape& cache = a.out_shapes[1];
  const auto keys = static_cast<std::size_t>(cache.dims[1]),
             slots = static_cast<std::size_t>(cache.dims[2]),
             width = static_cast<std::size_t>(cache.dims[3]);
  const std::size_t row_values = keys * slots * width, last = (keys - 1) * slots * width;
  const std::size_t cross = prefill ? 2 : 3;
  std::uint64_t attended = fake::digest(a.in[cross]);
  if (a.in.size() > 4) attended = fake::mix(attended, fake::digest(a.in[4]));
  const int vocab = a.out_shapes[0].dims[1];
  for (int r = 0; r < rows; ++r) {
    const auto out = a.out[1].subspan(static_cast<std::size_t>(r) * row_values, row_values);
    if (prefill) {
      std::fill(out.begin(), out.end(), 0.f);
    } else {
      const auto parent = static_cast<std::size_t>(parents[static_cast<std::size_t>(r)]);
      std::copy_n(a.in[2].begin() + static_cast<std::ptrdiff_t>(parent * row_values), row_values,
                  out.begin());
    }
    const auto position = prefill ? 0 : static_cast<std::size_t>(a.in[1][0]);
    for (std::size_t i = 0; i < static_cast<std::size_t>(fed); ++i) {
      const float id = a.in[0][static_cast<std::size_t>(r) * static_cast<std::size_t>(fed) + i] + 1;
      out[(position + i) * width] = out[last + (position + i) * width] = id;
    }
    std::size_t end = position + 1;
    if (prefill)
      end = static_cast<std::size_t>(std::find(a.in[1].begin(), a.in[1].end(), 1.f) -
                                     a.in[1].begin()) +
            1;
    std::vector<std::int32_t> history;
    for (std::size_t i = 0; i < end; ++i) {
      const float id = out[i * width];
      // -7: half a row was copied
      history.push_back(id == out[last + i * width] ? static_cast<std::int32_t>(id) - 1 : -7);
    }
    const auto values = fake::logits(history, attended, vocab);
    std::copy(values.begin(), values.end(),
              a.out[0].begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(r) *
                                                             static_cast<std::size_t>(vocab)));
  }
}

void compute(const std::string& kind, Arrays& a) {
  const auto row = [](std::span<const float> values, int rows, int r) {
    const std::size_t size = values.size() / static_cast<std::size_t>(rows);
    return values.subspan(static_cast<std::size_t>(r) * size, size);
  };
  const int rows = a.out_shapes[0].dims[0];
  if (kind == "vision" || kind.ends_with("_cross")) {
    for (std::size_t o = 0; o < a.out.size(); ++o)
      fill(a.out[o], fake::mix(fake::digest(a.in[0]), static_cast<std::uint64_t>(kind[0]) + o));
  } else if (kind == "match" || kind == "text" || kind == "question") {
    for (int r = 0; r < rows; ++r) {
      std::uint64_t hash = digest_of_text(row(a.in[0], rows, r), row(a.in[1], rows, r));
      if (kind != "text") hash = fake::mix(hash, fake::digest(a.in[2]));
      for (std::size_t o = 0; o < a.out.size(); ++o) {
        const std::size_t size = a.out[o].size() / static_cast<std::size_t>(rows);
        fill(a.out[o].subspan(static_cast<std::size_t>(r) * size, size), fake::mix(hash, o));
      }
    }
  } else if (kind == "step") {
    std::vector<float> parents(static_cast<std::size_t>(rows));
    std::iota(parents.begin(), parents.end(), 0.f);
    step(a, rows, 1, false, parents);
  } else if (kind == "reordering_step") {
    const std::vector<float> parents = std::move(a.in.back());
    a.in.pop_back();
    step(a, rows, 1, false, parents);
  } else if (kind == "prefill") {
    step(a, 1, a.in_shapes[0].dims[1], true, {});
  } else if (kind == "caption") {  // as the sample's: "a picture of ", then some
    const int prompt[] = {30522, 1037, 3861, 1997};
    const std::uint64_t hash = fake::digest(a.in[0]);
    for (std::size_t i = 0; i < a.out[0].size(); ++i)
      a.out[0][i] = i < 4 ? static_cast<float>(prompt[i])
                          : 2000.f + static_cast<float>(fake::mix(hash, i) % 1000);
  } else if (kind == "demo_match" || kind == "demo_question") {  // likewise: picture, ids, mask
    fill(a.out[0], fake::mix(digest_of_text(a.in[1], a.in[2], 1), fake::digest(a.in[0])));
  } else if (kind == "demo_answer") {  // likewise: [DEC], two words, [SEP], padding
    std::fill(a.out[0].begin(), a.out[0].end(), 0.f);
    a.out[0][0] = 30522;
    for (std::size_t i = 1; i < 3; ++i)
      a.out[0][i] = 2000.f + static_cast<float>(fake::mix(fake::digest(a.in[0]), i) % 1000);
    a.out[0][3] = 102;
  } else {
    die("no network of kind " + kind);
  }
}

// Holds the first launch back until its condition is met, once.
void hold_back() {
  static std::mutex mutex;
  static std::condition_variable changed;
  static auto& arranged = *new std::string;  // as above
  static int running = 0;
  static bool over = false;
  static std::atomic<bool> gate_over = false;
  if (const std::string value = setting("BLIP_FAKE_MEET"); !value.empty()) {
    std::unique_lock lock(mutex);
    if (value != arranged) {
      arranged = value;
      over = false;
      running = 0;
    }
    const int meet = std::atoi(value.c_str());
    if (!over) {
      ++running;
      changed.notify_all();
      if (running >= meet) {
        over = true;
        log_event("met");
      } else if (!changed.wait_for(lock, kPatience, [&] { return over; })) {
        over = true;
        log_event("alone");
      }
    }
  }
  const std::string gate = setting("BLIP_FAKE_GATE");
  if (gate.empty() || gate_over.exchange(true)) return;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!std::filesystem::exists(gate) && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  log_event(std::filesystem::exists(gate) ? "gate" : "no gate");
}

std::vector<float> as_floats(const void* data, const Value& value) {
  std::vector<float> floats(value.count());
  if (value.type == DataType::kI32) {
    const auto* ids = static_cast<const std::int32_t*>(data);
    std::copy_n(ids, floats.size(), floats.begin());
  } else {
    std::memcpy(floats.data(), data, 4 * floats.size());
  }
  return floats;
}

void execute(Chip& chip, const FakeNetwork& network, const std::string& cores,
             const std::vector<Tensor>& in, const std::vector<Tensor>& out) {
  const std::string what = std::to_string(chip.id) + " " + cores + " " + network.name;
  log_event("launch " + what);
  hold_back();
  Arrays arrays;
  for (std::size_t i = 0; i < in.size(); ++i) {
    arrays.in.push_back(
        as_floats(chip.at(in[i].device_mem, 4 * network.inputs[i].count()), network.inputs[i]));
    arrays.in_shapes.push_back(network.inputs[i].shape);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t count = network.outputs[i].count();
    arrays.out.push_back({static_cast<float*>(chip.at(out[i].device_mem, 4 * count)), count});
    arrays.out_shapes.push_back(network.outputs[i].shape);
  }
  if (const std::string garbled = setting("BLIP_FAKE_GARBLED"); garbled.empty())
    compute(network.kind, arrays);
  else
    for (const auto& values : arrays.out)
      std::fill(values.begin(), values.end(), std::strtof(garbled.c_str(), nullptr));
  log_event("done " + what);
}

std::vector<std::unique_ptr<Chip>>& chips() {
  static auto& list = *[] {  // as above
    auto made = std::make_unique<std::vector<std::unique_ptr<Chip>>>();
    for (int id = 0; id < std::atoi(setting("BLIP_FAKE_CHIPS", "1").c_str()); ++id) {
      made->push_back(std::make_unique<Chip>());
      made->back()->id = id;
    }
    return made.release();
  }();
  return list;
}

// What a program leaves behind with a chip that failed stays known, as the driver would know it.
template <class Thing>
Thing* remembered(Thing* thing) {
  static std::mutex mutex;
  static auto& all = *new std::vector<Thing*>;  // as above
  const std::lock_guard lock(mutex);
  all.push_back(thing);
  return thing;
}

// A chip as one who opened it has it.
struct Opened {
  Chip* chip;
  std::atomic<int> allocations = 0;
  std::atomic<int> sync_timeout = 0;  // milliseconds
};

Chip& chip_of(Handle handle) { return *static_cast<Opened*>(handle)->chip; }
bool goes_well(Handle handle, const char* call) { return goes_well(chip_of(handle).id, call); }

}  // namespace

extern "C" {

Status bm_dev_getcount(int* count) {
  *count = static_cast<int>(chips().size());
  return 0;
}
Status bm_dev_request(Handle* handle, int id) {
  if (!goes_well(id, "request")) return 1;
  *handle = remembered(new Opened{chips().at(static_cast<std::size_t>(id)).get()});
  return 0;
}
void bm_dev_free(Handle handle) {
  goes_well(handle, "free");
  auto* opened = static_cast<Opened*>(handle);
  if (opened->allocations != 0)
    die("chip " + std::to_string(opened->chip->id) + " is freed with memory in use");
  delete opened;
}
Status bm_set_sync_timeout(Handle handle, int milliseconds) {
  static_cast<Opened*>(handle)->sync_timeout = milliseconds;
  return 0;
}
Status bm_get_chipid(Handle, unsigned* id) {
  *id = static_cast<unsigned>(std::stoul(setting("BLIP_FAKE_CHIP", "0x1686"), nullptr, 0));
  return 0;
}
Status bm_get_tpu_scalar_num(Handle handle, unsigned* count) {
  unsigned id = 0;
  bm_get_chipid(handle, &id);
  *count = id == 0x1686a200 ? 2 : 1;
  return 0;
}
Status bm_malloc_device_byte(Handle handle, Memory* memory, unsigned bytes) {
  if (!goes_well(handle, "allocate")) return 1;
  Chip& chip = chip_of(handle);
  *memory = {};
  memory->address.device_addr = reinterpret_cast<unsigned long>(std::malloc(bytes));
  memory->size = bytes;
  // 3.4e38: whoever reads what nobody wrote sees it
  std::memset(reinterpret_cast<void*>(memory->address.device_addr), 0x7f, bytes);
  const std::lock_guard lock(chip.mutex);
  chip.memory[memory->address.device_addr] = bytes;
  ++static_cast<Opened*>(handle)->allocations;
  return 0;
}
void bm_free_device(Handle handle, Memory memory) {
  goes_well(handle, "free");
  --static_cast<Opened*>(handle)->allocations;
  Chip& chip = chip_of(handle);
  const std::lock_guard lock(chip.mutex);
  if (chip.memory.erase(memory.address.device_addr) == 0)
    die("memory is freed that is not of chip " + std::to_string(chip.id));
  std::free(reinterpret_cast<void*>(memory.address.device_addr));
}
Status bm_memcpy_s2d(Handle handle, Memory to, void* from) {
  if (!goes_well(handle, "upload")) return 1;
  std::memcpy(chip_of(handle).at(to, to.size), from, to.size);
  return 0;
}
Status bm_memcpy_d2s(Handle handle, void* to, Memory from) {
  if (!goes_well(handle, "download")) return 1;
  std::memcpy(to, chip_of(handle).at(from, from.size), from.size);
  return 0;
}
Status bm_memcpy_d2d_stride(Handle handle, Memory to, int to_stride, Memory from, int from_stride,
                            int count, int bytes) {
  if (to_stride != 1 || from_stride != 1) return 1;
  log_event("copy " + std::to_string(chip_of(handle).id));
  if (!goes_well(handle, "copy")) return 1;
  if (setting("BLIP_FAKE_COPIES", "1") == "0") return 0;
  const auto size = static_cast<std::size_t>(count) * static_cast<std::size_t>(bytes);
  std::memcpy(chip_of(handle).at(to, size), chip_of(handle).at(from, size), size);
  return 0;
}
Status bm_thread_sync_from_core(Handle handle, int core) {
  // A chip that hangs, by a driver that notices after the time that was set.
  if (!goes_well(handle, "late")) {
    std::this_thread::sleep_for(
        std::chrono::milliseconds(static_cast<Opened*>(handle)->sync_timeout));
    return 5;
  }
  if (!goes_well(handle, "sync")) {
    chip_of(handle).give_up(core);
    return 1;
  }
  chip_of(handle).finish(core);
  return 0;
}
Status bm_thread_sync(Handle handle) { return bm_thread_sync_from_core(handle, 0); }
Status bm_get_board_name(Handle, char* name) {
  std::strcpy(name, "FAKE");
  return 0;
}
Status bm_get_chip_temp(Handle, unsigned* degrees) {
  *degrees = 45;
  return 0;
}
Status bm_get_board_power(Handle, unsigned* watts) {
  *watts = 18;
  return 0;
}
Status bm_get_driver_version(Handle, int* version) {
  *version = 0x000501;
  return 0;
}
Status bm_get_stat(Handle, DeviceStat* stat) {
  stat->mem_total = 14336;
  stat->mem_used = 5120;
  return 0;
}

const char* libbmrt_version() {
  return "libbmrt_version:1.2.3, branch:master,commit:fa4e ,compiled on a day.";
}

RuntimeHandle bmrt_create(Handle handle) { return remembered(new Runtime{&chip_of(handle), {}}); }
void bmrt_destroy(RuntimeHandle runtime) { delete static_cast<Runtime*>(runtime); }

bool bmrt_load_bmodel(RuntimeHandle handle, const char* path) {
  if (!goes_well(static_cast<Runtime*>(handle)->chip->id, "load")) return false;
  auto& networks = static_cast<Runtime*>(handle)->networks;
  std::ifstream file(path, std::ios::binary);
  std::uint32_t header[16] = {};
  file.read(reinterpret_cast<char*>(header), sizeof header);
  file.seekg(static_cast<std::streamoff>(sizeof header + header[2]));
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string word;
    line >> word;
    if (word == "network") {
      networks.push_back(std::make_unique<FakeNetwork>());
      line >> networks.back()->name >> networks.back()->kind >> networks.back()->cores;
    } else if (word == "in" || word == "out") {
      (word == "in" ? networks.back()->inputs : networks.back()->outputs)
          .push_back(read_value(line));
    } else {
      return false;
    }
  }
  for (auto& network : networks) describe(*network);
  return !networks.empty();
}
int bmrt_get_network_number(RuntimeHandle runtime) {
  return static_cast<int>(static_cast<Runtime*>(runtime)->networks.size());
}
void bmrt_get_network_names(RuntimeHandle runtime, const char*** names) {
  const auto& networks = static_cast<Runtime*>(runtime)->networks;
  *names = static_cast<const char**>(std::malloc(networks.size() * sizeof(char*)));
  for (std::size_t i = 0; i < networks.size(); ++i) (*names)[i] = networks[i]->name.c_str();
}
const NetworkInfo* bmrt_get_network_info(RuntimeHandle runtime, const char* name) {
  for (const auto& network : static_cast<Runtime*>(runtime)->networks)
    if (network->name == name) return &network->info;
  return nullptr;
}

bool bmrt_launch_tensor_multi_cores(RuntimeHandle handle, const char* name, const Tensor* in,
                                    int inputs, Tensor* out, int outputs, bool, bool,
                                    const int* cores, int core_count) {
  Runtime& runtime = *static_cast<Runtime*>(handle);
  if (!goes_well(runtime.chip->id, "launch")) return false;
  const auto network = std::find_if(runtime.networks.begin(), runtime.networks.end(),
                                    [&](const auto& n) { return n->name == name; });
  if (network == runtime.networks.end() || core_count != (*network)->cores) return false;
  std::string list;
  for (int i = 0; i < core_count; ++i) {
    if (i > 0) list += '+';
    list += std::to_string(cores[i]);
  }
  const std::lock_guard lock(runtime.chip->mutex);
  runtime.chip->queues[cores[core_count - 1]].push_back(
      [&runtime, &network = **network, list, a = std::vector(in, in + inputs),
       b = std::vector<Tensor>(out, out + outputs)] {
        execute(*runtime.chip, network, list, a, b);
      });
  return true;
}
bool bmrt_launch_tensor_ex(RuntimeHandle runtime, const char* name, const Tensor* in, int inputs,
                           Tensor* out, int outputs, bool own_memory, bool own_mode) {
  const int core = 0;
  return bmrt_launch_tensor_multi_cores(runtime, name, in, inputs, out, outputs, own_memory,
                                        own_mode, &core, 1);
}

}  // extern "C"
