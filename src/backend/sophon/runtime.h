// The vendor's runtime, found at run time, behind owning types: library, chip, memory on it, loaded
// networks.
//
// The vendor's libraries print on standard output of their own accord. A program whose standard
// output is data keeps it elsewhere first (apps/cli/console.h does); redirecting it here would tear
// it away from the program's other threads.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/sophon/abi.h"
#include "backend/sophon/guard.h"

namespace blip::backend::sophon {

// The environment variable that says where the vendor's libraries lie.
constexpr const char* kFolderVariable = "BLIP_BMRT_DIR";

// libbmlib and libbmrt with every function resolved. Stays loaded until the program ends: the
// vendor's libraries leave threads and exit handlers behind.
class Library {
 public:
  // Looks in $BLIP_BMRT_DIR; if that is not set in the vendor's install folder, then on the
  // loader's path. Throws Error(kDevice) naming what is missing and how to get it. A failure is not
  // remembered.
  static const Library& get();

#define BLIP_DECLARE(member, symbol, result, parameters) result(*member) parameters = nullptr;
  struct Bmlib {
    using Status = abi::Status;
    using Handle = abi::Handle;
    using Memory = abi::Memory;
    using DeviceStat = abi::DeviceStat;
    BLIP_BMLIB_FUNCTIONS(BLIP_DECLARE)
    BLIP_BMLIB_OPTIONAL_FUNCTIONS(BLIP_DECLARE)
  } bmlib;
  struct Bmrt {
    using Handle = abi::Handle;
    using RuntimeHandle = abi::RuntimeHandle;
    using NetworkInfo = abi::NetworkInfo;
    using Tensor = abi::Tensor;
    BLIP_BMRT_FUNCTIONS(BLIP_DECLARE)
    BLIP_BMRT_OPTIONAL_FUNCTIONS(BLIP_DECLARE)
  } bmrt;
#undef BLIP_DECLARE
  std::string folder;           // where it was found; empty: on the loader's path
  bool emulated() const;        // an emulator's, as far as its folder tells
  std::string version() const;  // of libbmrt: "1.0.0 (ee6becb0)"; empty where it does not say

 private:
  Library() = default;
  static Library load();
};

// "bm1684x" for 0x1686; "chip 0x..." for one we do not know.
std::string chip_name(unsigned chip_id);

// For errors.
inline constexpr const char* kKnownChips = "BM1684, BM1684X, BM1688 and CV186X (docs/SOPHON.md)";

class Device;
// chip_name() of the device. Throws Error(kUnsupported) where we do not know it.
std::string known_chip(const Device& device);

// Whether the vendor's runtime takes a bmodel with this label, in upper or lower case, on the chip:
// a CV186X has BM1688's id and runs its networks, and older compilers wrote BM1686.
bool label_fits(const std::string& label, const std::string& chip);
bool is_known_label(const std::string& label);  // of some chip that we know

// "libbmrt_version:1.0.0, branch:master,commit:ee6becb0 ,compiled on ..." -> "1.0.0 (ee6becb0)";
// another text as it is.
std::string short_version(const std::string& text);

// For std::unique_lock, with a time limit. The thread sanitizer of GCC 12 does not know the call by
// which std::timed_mutex waits.
class TurnMutex {
 public:
  void lock() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [this] { return !held_; });
    held_ = true;
  }
  bool try_lock_for(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    if (!freed_.wait_for(lock, time, [this] { return !held_; })) return false;
    return held_ = true;
  }
  void unlock() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    freed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  bool held_ = false;
};

class DeviceMemory;

// A chip that this process holds. May be used by several threads: calls of the vendor's library
// take turns (mutex), and a launch has the cores it computes on for itself (Cores) while other
// threads copy.
class Device {
 public:
  // Throws Error(kDevice) when there is no such chip.
  static std::shared_ptr<Device> open(int id);
  static int count();
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Library& library() const { return library_; }
  abi::Handle handle() const { return handle_; }
  int id() const { return id_; }
  unsigned chip_id() const { return chip_id_; }
  int cores() const { return static_cast<int>(core_busy_.size()); }
  std::string name() const;  // "sophon:0 (bm1684x)"
  // "SC7 Pro, BM1684X, 5120 of 14336 MiB used, 45 °C, 18 W, driver 0.5.1, runtime 1.0.0
  // (ee6becb0)": what the library tells.
  std::string describe() const;
  Limit limit() const { return limit_; }  // of one call

  // Calls of the vendor's library in a row: the chip for itself. Throws Error(kDevice) for a chip
  // that has failed, which is not called again. times: how many times a call's limit they may take.
  class Turn {
   public:
    Turn(const Device& device, const char* what, int times = 1);

   private:
    CallTimer timer_;
    std::unique_lock<TurnMutex> lock_;
  };

  // A chip fails for good, until it is opened anew: by hanging, or by kFailuresInARow calls of a
  // kind in a row that went wrong. Until then one that went wrong is an error of its picture alone.
  static constexpr int kFailuresInARow = 3;
  enum class Call { kAllocate, kUpload, kDownload, kCopy, kRun };
  void fail(const std::string& why) const;
  bool failed() const { return failed_; }
  std::string failure() const;  // "" while it works
  void went_well(Call call) const { failures_of(call) = 0; }
  [[noreturn]] void went_wrong(Call call, const std::string& why) const;  // Error(kDevice, why)

  // Gives memory back at the next chance: from any thread, without waiting for the chip.
  void give_back(const abi::Memory& memory) const;

  // Whether the vendor's library copies from memory to memory on this chip: some versions do
  // nothing and say all went well.
  bool copies() const;

  // `count` cores, the first that are free, until destroyed.
  class Cores {
   public:
    Cores(const Device& device, int count);
    ~Cores();
    Cores(const Cores&) = delete;
    Cores& operator=(const Cores&) = delete;
    const std::vector<int>& list() const { return list_; }
    void synchronize() const;  // waits for their work

   private:
    const Device& device_;
    std::vector<int> list_;
  };

 private:
  Device(const Library& library, abi::Handle handle, int id, Limit limit);
  bool try_copy() const;
  void free_returned() const;  // in a turn
  friend class DeviceMemory;
  friend class Network;
  const Library& library_;
  abi::Handle handle_;
  int id_;
  unsigned chip_id_ = 0;
  Limit limit_;
  mutable TurnMutex mutex_;
  mutable std::atomic<bool> failed_ = false;
  static constexpr std::size_t kCalls = static_cast<std::size_t>(Call::kRun) + 1;
  mutable std::array<std::atomic<int>, kCalls> failures_{};  // in a row
  std::atomic<int>& failures_of(Call call) const {
    return failures_[static_cast<std::size_t>(call)];
  }
  mutable std::mutex state_mutex_;  // of the next two
  mutable std::string failure_;
  mutable std::vector<abi::Memory> returned_;
  mutable std::mutex cores_mutex_;
  mutable std::condition_variable cores_freed_;
  mutable std::vector<bool> core_busy_;
  mutable std::once_flag copy_tried_;
  mutable bool copies_ = false;
};

class DeviceMemory {
 public:
  DeviceMemory(std::shared_ptr<const Device> device, std::size_t bytes);
  ~DeviceMemory() { device_->give_back(memory_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  std::size_t bytes() const { return memory_.size; }
  const abi::Memory& descriptor() const { return memory_; }
  void upload(std::span<const std::byte> data);    // to the start; at most bytes()
  void download(std::span<std::byte> data) const;  // from the start; at most bytes()
  // bytes [from_offset, from_offset + count) of `from` to `offset` here, on the chip. Whole
  // multiples of 4; the places must not overlap.
  void copy(std::size_t offset, const DeviceMemory& from, std::size_t from_offset,
            std::size_t count);

 private:
  friend class Device;
  abi::Memory part(std::size_t offset, std::size_t count) const;
  std::shared_ptr<const Device> device_;
  abi::Memory memory_ = {};
};

// What goes into or comes out of a network.
struct Port {
  std::string name;
  abi::DataType dtype;
  abi::Shape shape;
  std::size_t bytes;     // of a value of this shape and type
  std::size_t capacity;  // what the network may write or read, at least `bytes`
  std::size_t elements() const;
  std::string text() const;  // "f32 [1, 3, 384, 384]"
};

class Runtime;

// One compiled network on a chip, with the shapes it was compiled for.
class Network {
 public:
  // The networks of a bmodel file, at least one. Throws Error(kIo | kModel | kDevice).
  static std::vector<std::shared_ptr<const Network>> load(const std::shared_ptr<Device>& device,
                                                          const std::string& path);

  const std::string& path() const { return path_; }
  const std::string& name() const { return name_; }
  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  int cores() const { return cores_; }  // that it computes on at a time
  std::string signature() const;        // "blip_itm: f32 [1, 3, 384, 384], ... -> f32 [1]"
  ExecutableUse use() const;            // so far

  std::unique_ptr<DeviceMemory> make_input(std::size_t index) const;
  std::unique_ptr<DeviceMemory> make_output(std::size_t index) const;
  // All memory on the device; returns when the outputs are there. Several threads may run one
  // network.
  void run(std::span<const DeviceMemory* const> inputs,
           std::span<DeviceMemory* const> outputs) const;
  // Runs once on zeros: whether the chip computes at all. Throws Error(kDevice).
  void try_once() const;

 private:
  Network(std::shared_ptr<Device> device, std::shared_ptr<const Runtime> runtime, std::string path,
          const abi::NetworkInfo& info);
  void launch(std::span<const abi::Tensor> inputs, std::span<abi::Tensor> outputs,
              const std::vector<int>& cores) const;
  std::shared_ptr<Device> device_;
  std::shared_ptr<const Runtime> runtime_;
  std::string path_, name_;
  int cores_ = 1;
  std::vector<Port> inputs_, outputs_;
  mutable std::atomic<std::uint64_t> launches_ = 0, nanoseconds_ = 0;
};

}  // namespace blip::backend::sophon
