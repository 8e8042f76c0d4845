#include "backend/sophon/runtime.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "backend/sophon/bmodel_file.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

constexpr unsigned kBm1684 = 0x1684, kBm1684x = 0x1686, kBm1688 = 0x1686a200;
constexpr int kMaxPorts = 64;  // far above what a stage has: a count beyond it is a misread structure

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string hex(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

std::size_t element_bytes(abi::DataType type) {
  switch (type) {
    case abi::DataType::kF32:
    case abi::DataType::kI32:
    case abi::DataType::kU32: return 4;
    case abi::DataType::kF16:
    case abi::DataType::kBf16:
    case abi::DataType::kI16:
    case abi::DataType::kU16: return 2;
    case abi::DataType::kI8:
    case abi::DataType::kU8: return 1;
    case abi::DataType::kI4:
    case abi::DataType::kU4: break;
  }
  return 0;
}

const char* type_name(abi::DataType type) {
  constexpr const char* kNames[] = {"f32", "f16", "i8", "u8", "i16", "u16", "i32", "u32", "bf16", "i4", "u4"};
  const auto index = static_cast<std::size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown type";
}

Port read_port(const char* name, abi::DataType dtype, const abi::Shape& shape, std::size_t max_bytes, const std::string& path) {
  Port port{name ? name : "", dtype, shape, element_bytes(dtype), 0};
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kModel, path + ": network value \"" + port.name + "\": " + why);
  };
  if (port.bytes == 0) refuse("its type (" + std::to_string(static_cast<int>(dtype)) + ") is not supported");
  if (shape.num_dims < 0 || shape.num_dims > abi::kMaxDims) refuse("it has " + std::to_string(shape.num_dims) + " dimensions; at most 8 are possible");
  for (int i = 0; i < shape.num_dims; ++i) {
    // Descriptors of device memory count bytes in 32 bits.
    if (shape.dims[i] <= 0 || port.bytes > std::numeric_limits<unsigned>::max() / static_cast<unsigned>(shape.dims[i]))
      refuse("its shape " + port.text() + " is not possible");
    port.bytes *= static_cast<std::size_t>(shape.dims[i]);
  }
  port.capacity = std::max(port.bytes, max_bytes);
  if (port.capacity > std::numeric_limits<unsigned>::max())
    refuse("it needs " + std::to_string(port.capacity) + " bytes; at most 4 GiB are possible");
  return port;
}

}  // namespace

std::string chip_name(unsigned chip_id) {
  switch (chip_id) {
    case kBm1684: return "bm1684";
    case kBm1684x: return "bm1684x";
    case kBm1688: return "bm1688";
    default: return "chip " + hex(chip_id);
  }
}

int Device::count() {
  int count = 0;
  return Library::get().bmlib.device_count(&count) == 0 ? std::max(count, 0) : 0;
}

std::shared_ptr<Device> Device::open(int id) {
  const Library& library = Library::get();
  const int chips = count();
  if (chips == 0)
    throw Error(ErrorCode::kDevice, "no SOPHON chip in this machine: the runtime in " +
                                        (library.folder.empty() ? "the loader's path" : library.folder) + " finds none; check that the card is seated and its driver loaded (/dev/bm-sophon0)");
  if (id < 0 || id >= chips)
    throw Error(ErrorCode::kDevice, "no device sophon:" + std::to_string(id) + "; this machine has sophon:0" +
                                        (chips > 1 ? " to sophon:" + std::to_string(chips - 1) : ""));
  abi::Handle handle = nullptr;
  const abi::Status status = library.bmlib.request(&handle, id);
  if (status != 0 || !handle)
    throw Error(ErrorCode::kDevice, "cannot open sophon:" + std::to_string(id) + " (status " + std::to_string(status) +
                                        "); check the permissions of /dev/bm-sophon" + std::to_string(id));
  return std::shared_ptr<Device>(new Device(library, handle, id));
}

Device::Device(const Library& library, abi::Handle handle, int id) : library_(library), handle_(handle), id_(id) {
  if (library_.bmlib.chip_id(handle_, &chip_id_) != 0) chip_id_ = 0;
}

Device::~Device() { library_.bmlib.release(handle_); }

std::string Device::name() const { return "sophon:" + std::to_string(id_) + " (" + chip_name(chip_id_) + ")"; }

std::string Device::describe() const {
  const std::lock_guard lock(mutex_);
  std::string chip = chip_name(chip_id_);
  for (char& c : chip) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  // What a call leaves untouched stays unknown: emulators and SoCs succeed without an answer in places.
  char board[256] = {};
  std::string text = library_.bmlib.board_name(handle_, board) == 0 && board[0] && chip != board ? board + (", " + chip) : chip;
  abi::DeviceStat stat = {};
  if (library_.bmlib.stat(handle_, &stat) == 0 && stat.mem_total > 0)
    text += ", " + std::to_string(stat.mem_used) + " of " + std::to_string(stat.mem_total) + " MiB used";
  unsigned temperature = 0, power = 0;
  if (library_.bmlib.chip_temperature(handle_, &temperature) == 0 && temperature > 0) text += ", " + std::to_string(temperature) + " °C";
  if (library_.bmlib.board_power(handle_, &power) == 0 && power > 0) text += ", " + std::to_string(power) + " W";
  int driver = 0;
  if (library_.bmlib.driver_version(handle_, &driver) == 0 && driver > 0)
    text += ", driver " + std::to_string(driver >> 16) + "." + std::to_string(driver >> 8 & 0xff) + "." + std::to_string(driver & 0xff);
  return text;
}

void Device::synchronize() const {
  if (const abi::Status status = library_.bmlib.synchronize(handle_); status != 0)
    throw Error(ErrorCode::kDevice, name() + " did not finish its work (status " + std::to_string(status) + "); the chip may hang: see dmesg");
}

DeviceMemory::DeviceMemory(std::shared_ptr<const Device> device, std::size_t bytes) : device_(std::move(device)) {
  const std::lock_guard lock(device_->mutex());
  const abi::Status status = bytes > std::numeric_limits<unsigned>::max()
                                 ? -1
                                 : device_->library().bmlib.allocate(device_->handle(), &memory_, static_cast<unsigned>(bytes));
  if (status != 0)
    throw Error(ErrorCode::kDevice, device_->name() + " has no memory for " + std::to_string(bytes) + " bytes (status " + std::to_string(status) +
                                        "); end other programs on it or, on a SoC, give the TPU more memory (docs/SOPHON.md)");
}

DeviceMemory::~DeviceMemory() {
  const std::lock_guard lock(device_->mutex());
  device_->library().bmlib.deallocate(device_->handle(), memory_);
}

void DeviceMemory::check_size(std::size_t size) const {
  if (size > bytes())
    throw Error(ErrorCode::kDevice, "bug: " + std::to_string(size) + " bytes copied with device memory of " + std::to_string(bytes()));
}

void DeviceMemory::upload(std::span<const std::byte> data) {
  check_size(data.size());
  abi::Memory part = memory_;
  part.size = static_cast<unsigned>(data.size());
  const std::lock_guard lock(device_->mutex());
  const abi::Status status = device_->library().bmlib.upload(device_->handle(), part, const_cast<std::byte*>(data.data()));
  if (status != 0) throw Error(ErrorCode::kDevice, "copying to " + device_->name() + " failed (status " + std::to_string(status) + ")");
}

void DeviceMemory::download(std::span<std::byte> data) const {
  check_size(data.size());
  abi::Memory part = memory_;
  part.size = static_cast<unsigned>(data.size());
  const std::lock_guard lock(device_->mutex());
  const abi::Status status = device_->library().bmlib.download(device_->handle(), data.data(), part);
  if (status != 0) throw Error(ErrorCode::kDevice, "copying from " + device_->name() + " failed (status " + std::to_string(status) + ")");
}

std::size_t Port::elements() const { return bytes / element_bytes(dtype); }

std::string Port::text() const {
  std::string list;
  for (int i = 0; i < shape.num_dims; ++i) list += (i ? ", " : "") + std::to_string(shape.dims[i]);
  return std::string(type_name(dtype)) + " [" + list + "]";
}

std::shared_ptr<const Network> Network::load(const std::shared_ptr<Device>& device, const std::string& path) {
  const BmodelHead head = read_bmodel_head(path);
  const std::string chip = chip_name(device->chip_id());
  if (!head.chip.empty() && lower(head.chip) != chip)
    throw Error(ErrorCode::kModel, path + " is compiled for " + head.chip + ", but " + device->name() +
                                       " is another chip; give the bmodel for " + chip);
  std::shared_ptr<Network> network(new Network(device, path));
  const std::lock_guard lock(device->mutex());
  const auto& bmrt = device->library().bmrt;
  network->runtime_ = bmrt.create(device->handle());
  if (!network->runtime_) throw Error(ErrorCode::kDevice, "the SOPHON runtime cannot be started on " + device->name());
  if (!bmrt.load_bmodel(network->runtime_, path.c_str()))
    throw Error(ErrorCode::kModel, "the SOPHON runtime refuses " + path + " on " + device->name() +
                                       ": it is damaged, needs a newer runtime or more memory than the chip has left; the runtime's own "
                                       "message is above");
  network->read_info();
  return network;
}

Network::~Network() {
  const std::lock_guard lock(device_->mutex());
  if (runtime_) device_->library().bmrt.destroy(runtime_);
}

void Network::read_info() {
  const auto& bmrt = device_->library().bmrt;
  const int count = bmrt.network_number(runtime_);
  if (count != 1) throw Error(ErrorCode::kModel, path_ + " holds " + std::to_string(count) + " networks; expected 1");
  const char** names = nullptr;
  bmrt.network_names(runtime_, &names);
  const std::unique_ptr<const char*, void (*)(void*)> owner(names, [](void* p) { std::free(p); });
  if (!names || !names[0]) throw Error(ErrorCode::kModel, path_ + ": the runtime does not say its network's name");
  name_ = names[0];
  const abi::NetworkInfo* info = bmrt.network_info(runtime_, names[0]);
  const auto plausible = [](int ports) { return ports >= 1 && ports <= kMaxPorts; };
  if (!info || info->stage_num < 1 || !plausible(info->input_num) || !plausible(info->output_num))
    throw Error(ErrorCode::kModel, path_ + ": the runtime's description of network \"" + name_ +
                                       "\" makes no sense: libbmrt may be of another version");
  for (int i = 0; i < info->input_num; ++i)
    inputs_.push_back(read_port(info->input_names[i], info->input_dtypes[i], info->stages[0].input_shapes[i],
                                info->max_input_bytes[i], path_));
  for (int i = 0; i < info->output_num; ++i)
    outputs_.push_back(read_port(info->output_names[i], info->output_dtypes[i], info->stages[0].output_shapes[i],
                                 info->max_output_bytes[i], path_));
}

std::string Network::signature() const {
  const auto list = [](const std::vector<Port>& ports) {
    std::string text;
    for (const Port& port : ports) text += (text.empty() ? "" : ", ") + port.text();
    return text;
  };
  return name_ + ": " + list(inputs_) + " -> " + list(outputs_);
}

std::unique_ptr<DeviceMemory> Network::make_input(std::size_t index) const {
  return std::make_unique<DeviceMemory>(device_, inputs_.at(index).capacity);
}

std::unique_ptr<DeviceMemory> Network::make_output(std::size_t index) const {
  return std::make_unique<DeviceMemory>(device_, outputs_.at(index).capacity);
}

void Network::run(std::span<const DeviceMemory* const> inputs, std::span<DeviceMemory* const> outputs) const {
  const auto tensors = [](const std::vector<Port>& ports, auto memories) {
    if (ports.size() != memories.size())
      throw Error(ErrorCode::kDevice, "bug: " + std::to_string(memories.size()) + " values for " + std::to_string(ports.size()) + " ports");
    std::vector<abi::Tensor> list;
    for (std::size_t i = 0; i < ports.size(); ++i) {
      if (memories[i]->bytes() < ports[i].bytes) throw Error(ErrorCode::kDevice, "bug: device memory too small for " + ports[i].text());
      list.push_back({ports[i].dtype, ports[i].shape, memories[i]->descriptor(), 0});
    }
    return list;
  };
  const std::vector<abi::Tensor> in = tensors(inputs_, inputs);
  std::vector<abi::Tensor> out = tensors(outputs_, outputs);
  const std::lock_guard lock(device_->mutex());
  constexpr bool kOwnMemory = true, kOwnStoreMode = false;
  const bool launched = device_->library().bmrt.launch(runtime_, name_.c_str(), in.data(), static_cast<int>(in.size()), out.data(),
                                                       static_cast<int>(out.size()), kOwnMemory, kOwnStoreMode);
  if (!launched)
    throw Error(ErrorCode::kDevice, device_->name() + " failed to run network \"" + name_ + "\" of " + path_ +
                                        "; the runtime's own message is above");
  device_->synchronize();
}

}  // namespace blip::backend::sophon
