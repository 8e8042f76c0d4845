// A chip and memory on it.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <limits>
#include <numeric>
#include <utility>

#include "backend/sophon/runtime.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

constexpr unsigned kBm1684 = 0x1684, kBm1684x = 0x1686, kBm1688 = 0x1686a200;
constexpr int kMostCores = 64;  // far above any chip's: a count beyond it is a misread answer

// What a chip runs: the names that bmodels carry for it, by the name that we give the chip.
struct ChipLabels {
  const char* chip;
  std::vector<const char*> labels;
};
const std::vector<ChipLabels>& chip_labels() {
  static const std::vector<ChipLabels> all = {
      {"bm1684", {"bm1684"}},
      {"bm1684x", {"bm1684x", "bm1686"}},
      {"bm1688", {"bm1688", "cv186x", "bm1686"}},
  };
  return all;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string hex(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

// Null for a chip that we do not know.
const char* known_name(unsigned chip_id) {
  switch (chip_id) {
    case kBm1684:
      return "bm1684";
    case kBm1684x:
      return "bm1684x";
    case kBm1688:
      return "bm1688";
    default:
      return nullptr;
  }
}

std::size_t core_number(const Library& library, abi::Handle handle) {
  unsigned count = 0;
  const bool known =
      library.bmlib.core_number && library.bmlib.synchronize_core && library.bmrt.launch_on_cores;
  if (!known || library.bmlib.core_number(handle, &count) != 0 || count < 1 || count > kMostCores)
    return 1;
  return count;
}

}  // namespace

std::string chip_name(unsigned chip_id) {
  const char* known = known_name(chip_id);
  return known ? known : "chip " + hex(chip_id);
}

std::string known_chip(const Device& device) {
  const char* known = known_name(device.chip_id());
  if (!known)
    throw Error(ErrorCode::kUnsupported,
                device.name() + " is a chip that blip does not know; it knows " + kKnownChips);
  return known;
}

bool label_fits(const std::string& label, const std::string& chip) {
  for (const ChipLabels& one : chip_labels())
    if (chip == one.chip)
      return std::find(one.labels.begin(), one.labels.end(), lower(label)) != one.labels.end();
  return false;
}

bool is_known_label(const std::string& label) {
  for (const ChipLabels& one : chip_labels())
    if (label_fits(label, one.chip)) return true;
  return false;
}

int Device::count() {
  int count = 0;
  return Library::get().bmlib.device_count(&count) == 0 ? std::max(count, 0) : 0;
}

std::shared_ptr<Device> Device::open(int id) {
  const Library& library = Library::get();
  const int chips = count();
  if (chips == 0)
    throw Error(
        ErrorCode::kDevice,
        "no SOPHON chip in this machine: the runtime in " +
            (library.folder.empty() ? "the loader's path" : library.folder) +
            " finds none; check that the card is seated and its driver loaded (/dev/bm-sophon0)");
  if (id < 0 || id >= chips)
    throw Error(ErrorCode::kDevice,
                "no device sophon:" + std::to_string(id) + "; this machine has sophon:0" +
                    (chips > 1 ? " to sophon:" + std::to_string(chips - 1) : ""));
  abi::Handle handle = nullptr;
  const abi::Status status = library.bmlib.request(&handle, id);
  if (status != 0 || !handle)
    throw Error(ErrorCode::kDevice,
                "cannot open sophon:" + std::to_string(id) + " (status " + std::to_string(status) +
                    "); check the permissions of /dev/bm-sophon" + std::to_string(id));
  const Limit limit = call_limit(library.emulated());
  if (limit != kNoLimit && library.bmlib.set_sync_timeout)
    library.bmlib.set_sync_timeout(handle, static_cast<int>(limit.count()));
  return std::shared_ptr<Device>(new Device(library, handle, id, limit));
}

Device::Device(const Library& library, abi::Handle handle, int id, Limit limit)
    : library_(library),
      handle_(handle),
      id_(id),
      limit_(limit),
      core_busy_(core_number(library, handle), false) {
  if (library_.bmlib.chip_id(handle_, &chip_id_) != 0) chip_id_ = 0;
}

// What belongs to a chip that failed is left to the driver, which frees it with the process: a call
// for it might never return.
Device::~Device() {
  if (failed_) return;
  const auto release = [&library = library_, handle = handle_, returned = std::move(returned_)] {
    for (const abi::Memory& memory : returned) library.bmlib.deallocate(handle, memory);
    library.bmlib.release(handle);
  };
  close_guarded(name(), limit_, "closing it", release);
}

Device::Turn::Turn(const Device& device, const char* what, int times)
    : timer_(device.limit_ == kNoLimit ? kNoLimit : device.limit_ * times, what),
      lock_(device.mutex_, std::defer_lock) {
  // Who has the turn may hang and never give it back.
  constexpr auto kGlance = std::chrono::milliseconds(100);
  do {
    if (device.failed_) throw Error(ErrorCode::kDevice, device.failure());
  } while (!lock_.try_lock_for(kGlance));
}

void Device::fail(const std::string& why) const {
  {
    const std::lock_guard lock(state_mutex_);
    if (failed_) return;
    failure_ = why;
    failed_ = true;
  }
  cores_freed_.notify_all();
}

std::string Device::failure() const {
  const std::lock_guard lock(state_mutex_);
  return failure_;
}

void Device::went_wrong(Call call, const std::string& why) const {
  if (++failures_of(call) < kFailuresInARow) throw Error(ErrorCode::kDevice, why);
  const std::string failure = why + ", " + std::to_string(kFailuresInARow) + " times in a row";
  fail(failure);
  throw Error(ErrorCode::kDevice, failure);
}

void Device::give_back(const abi::Memory& memory) const {
  const std::lock_guard lock(state_mutex_);
  returned_.push_back(memory);
}

void Device::free_returned() const {
  std::vector<abi::Memory> returned;
  {
    const std::lock_guard lock(state_mutex_);
    returned.swap(returned_);
  }
  for (const abi::Memory& memory : returned) library_.bmlib.deallocate(handle_, memory);
}

std::string Device::name() const {
  return "sophon:" + std::to_string(id_) + " (" + chip_name(chip_id_) + ")";
}

std::string Device::describe() const {
  const Turn turn(*this, "describing it");
  std::string chip = chip_name(chip_id_);
  for (char& c : chip) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  // What a call leaves untouched stays unknown: emulators and SoCs succeed without an answer in
  // places.
  char board[256] = {};
  std::string text = library_.bmlib.board_name(handle_, board) == 0 && board[0] && chip != board
                         ? board + (", " + chip)
                         : chip;
  abi::DeviceStat stat = {};
  if (library_.bmlib.stat(handle_, &stat) == 0 && stat.mem_total > 0)
    text += ", " + std::to_string(stat.mem_used) + " of " + std::to_string(stat.mem_total) +
            " MiB used";
  if (cores() > 1) text += ", " + std::to_string(cores()) + " cores";
  unsigned temperature = 0, power = 0;
  if (library_.bmlib.chip_temperature(handle_, &temperature) == 0 && temperature > 0)
    text += ", " + std::to_string(temperature) + " °C";
  if (library_.bmlib.board_power(handle_, &power) == 0 && power > 0)
    text += ", " + std::to_string(power) + " W";
  int driver = 0;
  if (library_.bmlib.driver_version(handle_, &driver) == 0 && driver > 0)
    text += ", driver " + std::to_string(driver >> 16) + "." + std::to_string(driver >> 8 & 0xff) +
            "." + std::to_string(driver & 0xff);
  if (const std::string runtime = library_.version(); !runtime.empty())
    text += ", runtime " + runtime;
  return text;
}

Device::Cores::Cores(const Device& device, int count) : device_(device) {
  std::unique_lock lock(device_.cores_mutex_);
  auto& busy = device_.core_busy_;
  device_.cores_freed_.wait(lock, [&] {
    return device_.failed_ || std::count(busy.begin(), busy.end(), false) >= count;
  });
  if (device_.failed_) throw Error(ErrorCode::kDevice, device_.failure());
  for (int core = 0; static_cast<int>(list_.size()) < count; ++core) {
    if (busy[static_cast<std::size_t>(core)]) continue;
    busy[static_cast<std::size_t>(core)] = true;
    list_.push_back(core);
  }
}

Device::Cores::~Cores() {
  {
    const std::lock_guard lock(device_.cores_mutex_);
    for (const int core : list_) device_.core_busy_[static_cast<std::size_t>(core)] = false;
  }
  device_.cores_freed_.notify_all();
}

// The vendor's own time limit, where it has one, comes before ours: an error is better than a
// thread left behind.
void Device::Cores::synchronize() const {
  const Limit limit = device_.limit_;
  const CallTimer timer(limit == kNoLimit ? kNoLimit : limit + limit / 4, "computing");
  const auto& bmlib = device_.library().bmlib;
  const auto started = std::chrono::steady_clock::now();
  abi::Status status = 0;
  if (device_.cores() == 1) {
    status = bmlib.synchronize(device_.handle());
  } else {
    for (const int core : list_)
      if (const abi::Status one = bmlib.synchronize_core(device_.handle(), core); one != 0)
        status = one;
  }
  if (status == 0) return device_.went_well(Call::kRun);
  const std::string why = device_.name() + " did not finish its work (status " +
                          std::to_string(status) + "); the chip may hang: see dmesg";
  if (limit != kNoLimit && std::chrono::steady_clock::now() - started > limit * 9 / 10)
    device_.fail(why);
  device_.went_wrong(Call::kRun, why);
}

bool Device::copies() const {
  std::call_once(copy_tried_, [this] { copies_ = try_copy(); });
  return copies_;
}

bool Device::try_copy() const {
  const auto& bmlib = library_.bmlib;
  std::array<std::uint32_t, 8> values{}, zeros{}, got{};
  std::iota(values.begin(), values.end(), 1u);
  const Turn turn(*this, "trying to copy");
  std::array<abi::Memory, 2> memory{};
  std::size_t made = 0;
  bool good = true;
  for (; good && made < memory.size(); made += good ? 1 : 0)
    good = bmlib.allocate(handle_, &memory[made], sizeof values) == 0;
  good = good && bmlib.upload(handle_, memory[0], values.data()) == 0 &&
         bmlib.upload(handle_, memory[1], zeros.data()) == 0 &&
         bmlib.copy(handle_, memory[1], 1, memory[0], 1, static_cast<int>(values.size()),
                    sizeof values[0]) == 0 &&
         bmlib.download(handle_, got.data(), memory[1]) == 0 && got == values;
  for (std::size_t i = 0; i < made; ++i) bmlib.deallocate(handle_, memory[i]);
  return good;
}

DeviceMemory::DeviceMemory(std::shared_ptr<const Device> device, std::size_t bytes)
    : device_(std::move(device)) {
  const Device::Turn turn(*device_, "taking memory");
  device_->free_returned();
  const abi::Status status = bytes > std::numeric_limits<unsigned>::max()
                                 ? -1
                                 : device_->library().bmlib.allocate(device_->handle(), &memory_,
                                                                     static_cast<unsigned>(bytes));
  if (status == 0)
    device_->went_well(Device::Call::kAllocate);
  else
    device_->went_wrong(
        Device::Call::kAllocate,
        device_->name() + " has no memory for " + std::to_string(bytes) + " bytes (status " +
            std::to_string(status) +
            "); end other programs on it or, on a SoC, give the TPU more memory (docs/SOPHON.md)");
}

abi::Memory DeviceMemory::part(std::size_t offset, std::size_t count) const {
  if (offset > bytes() || count > bytes() - offset)
    throw Error(ErrorCode::kDevice, "bug: bytes " + std::to_string(offset) + " to " +
                                        std::to_string(offset + count) + " of device memory of " +
                                        std::to_string(bytes()));
  abi::Memory part = memory_;
  part.address.device_addr += offset;
  part.size = static_cast<unsigned>(count);
  return part;
}

void DeviceMemory::upload(std::span<const std::byte> data) {
  const abi::Memory to = part(0, data.size());
  const Device::Turn turn(*device_, "copying to it");
  const abi::Status status =
      device_->library().bmlib.upload(device_->handle(), to, const_cast<std::byte*>(data.data()));
  if (status == 0) return device_->went_well(Device::Call::kUpload);
  device_->went_wrong(Device::Call::kUpload, "copying to " + device_->name() + " failed (status " +
                                                 std::to_string(status) + ")");
}

void DeviceMemory::download(std::span<std::byte> data) const {
  const abi::Memory from = part(0, data.size());
  const Device::Turn turn(*device_, "copying from it");
  const abi::Status status =
      device_->library().bmlib.download(device_->handle(), data.data(), from);
  if (status == 0) return device_->went_well(Device::Call::kDownload);
  device_->went_wrong(
      Device::Call::kDownload,
      "copying from " + device_->name() + " failed (status " + std::to_string(status) + ")");
}

void DeviceMemory::copy(std::size_t offset, const DeviceMemory& from, std::size_t from_offset,
                        std::size_t count) {
  constexpr int kElement = 4;
  if (count % kElement != 0)
    throw Error(ErrorCode::kDevice,
                "bug: " + std::to_string(count) + " bytes copied; multiples of 4 are possible");
  const abi::Memory source = from.part(from_offset, count), target = part(offset, count);
  const auto& bmlib = device_->library().bmlib;
  const bool on_chip = device_->copies();
  const Device::Turn turn(*device_, "copying on it");
  abi::Status status = 0;
  if (on_chip) {
    status = bmlib.copy(device_->handle(), target, 1, source, 1, static_cast<int>(count / kElement),
                        kElement);
  } else {
    std::vector<std::byte> host(count);
    status = bmlib.download(device_->handle(), host.data(), source);
    if (status == 0) status = bmlib.upload(device_->handle(), target, host.data());
  }
  if (status == 0) return device_->went_well(Device::Call::kCopy);
  device_->went_wrong(Device::Call::kCopy, "copying on " + device_->name() + " failed (status " +
                                               std::to_string(status) + ")");
}

}  // namespace blip::backend::sophon
