// Compiled networks: opening, describing, running.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <limits>
#include <utility>

#include "backend/sophon/bmodel_file.h"
#include "backend/sophon/runtime.h"
#include "base/ascii.h"
#include "blip/error.h"
#include "core/zone.h"

namespace blip::backend::sophon {
namespace {

// far above what a model has: a count beyond it is a misread structure
constexpr int kMaxPorts = 64, kMostNetworks = 64;

std::size_t element_bytes(abi::DataType type) {
  switch (type) {
    case abi::DataType::kF32:
    case abi::DataType::kI32:
    case abi::DataType::kU32:
      return 4;
    case abi::DataType::kF16:
    case abi::DataType::kBf16:
    case abi::DataType::kI16:
    case abi::DataType::kU16:
      return 2;
    case abi::DataType::kI8:
    case abi::DataType::kU8:
      return 1;
    case abi::DataType::kI4:
    case abi::DataType::kU4:
      break;
  }
  return 0;
}

const char* type_name(abi::DataType type) {
  constexpr const char* kNames[] = {"f32", "f16", "i8",   "u8", "i16", "u16",
                                    "i32", "u32", "bf16", "i4", "u4"};
  const auto index = static_cast<std::size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown type";
}

Port read_port(const char* name, abi::DataType dtype, const abi::Shape& shape,
               std::size_t max_bytes, const std::string& path) {
  Port port{name ? name : "", dtype, shape, element_bytes(dtype), 0};
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kModel, path + ": network value \"" + port.name + "\": " + why);
  };
  if (port.bytes == 0)
    refuse("its type (" + std::to_string(static_cast<int>(dtype)) + ") is not supported");
  if (shape.num_dims < 0 || shape.num_dims > abi::kMaxDims)
    refuse("it has " + std::to_string(shape.num_dims) + " dimensions; at most 8 are possible");
  for (int i = 0; i < shape.num_dims; ++i) {
    // Descriptors of device memory count bytes in 32 bits.
    if (shape.dims[i] <= 0 ||
        port.bytes > std::numeric_limits<unsigned>::max() / static_cast<unsigned>(shape.dims[i]))
      refuse("its shape " + port.text() + " is not possible");
    port.bytes *= static_cast<std::size_t>(shape.dims[i]);
  }
  port.capacity = std::max(port.bytes, max_bytes);
  if (port.capacity > std::numeric_limits<unsigned>::max())
    refuse("it needs " + std::to_string(port.capacity) + " bytes; at most 4 GiB are possible");
  return port;
}

std::string list(const std::vector<Port>& ports) {
  std::string text;
  for (const Port& port : ports) text += (text.empty() ? "" : ", ") + port.text();
  return text;
}

template <class Memories>
std::vector<abi::Tensor> tensors(const std::vector<Port>& ports, const Memories& memories) {
  if (ports.size() != memories.size())
    throw Error(ErrorCode::kDevice, "bug: " + std::to_string(memories.size()) + " values for " +
                                        std::to_string(ports.size()) + " ports");
  std::vector<abi::Tensor> result;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (memories[i]->bytes() < ports[i].bytes)
      throw Error(ErrorCode::kDevice, "bug: device memory too small for " + ports[i].text());
    result.push_back({ports[i].dtype, ports[i].shape, memories[i]->descriptor(), 0});
  }
  return result;
}

}  // namespace

std::size_t Port::elements() const { return bytes / element_bytes(dtype); }

std::string Port::text() const {
  std::string list;
  for (int i = 0; i < shape.num_dims; ++i) list += (i ? ", " : "") + std::to_string(shape.dims[i]);
  return std::string(type_name(dtype)) + " [" + list + "]";
}

// The vendor's runtime prints what went wrong.
constexpr const char* kItsMessage =
    "; the runtime's own message says more (on standard error, without --quiet)";

// A runtime of the vendor's with one bmodel file loaded. Made in a turn.
class Runtime {
 public:
  Runtime(std::shared_ptr<Device> device, const std::string& path) : device_(std::move(device)) {
    const auto& bmrt = device_->library().bmrt;
    handle_ = bmrt.create(device_->handle());
    if (!handle_)
      throw Error(ErrorCode::kDevice, "the SOPHON runtime cannot be started on " + device_->name());
    if (bmrt.load_bmodel(handle_, path.c_str())) return;
    bmrt.destroy(handle_);
    throw Error(ErrorCode::kModel, "the SOPHON runtime refuses " + path + " on " + device_->name() +
                                       ": it is damaged, needs a newer runtime or more memory than "
                                       "the chip has left" +
                                       kItsMessage);
  }
  ~Runtime() {
    if (device_->failed()) return;
    close_guarded(device_->name(), device_->limit(), "unloading a model",
                  [device = device_, handle = handle_] {
                    try {
                      const Device::Turn turn(*device, "unloading a model");
                      device->library().bmrt.destroy(handle);
                    } catch (const Error&) {  // the chip has failed by now
                    }
                  });
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  abi::RuntimeHandle handle() const { return handle_; }

 private:
  std::shared_ptr<Device> device_;
  abi::RuntimeHandle handle_;
};

std::vector<std::shared_ptr<const Network>> Network::load(const std::shared_ptr<Device>& device,
                                                          const std::string& path) {
  const BmodelHead head = read_bmodel_head(path);
  const std::string chip = known_chip(*device);
  if (!head.chip.empty() && !is_known_label(head.chip))
    throw Error(ErrorCode::kUnsupported, path + " is compiled for " + head.chip +
                                             ", on which blip has never run; it knows " +
                                             kKnownChips);
  if (!head.chip.empty() && !label_fits(head.chip, chip))
    throw Error(ErrorCode::kModel, path + " is compiled for " + head.chip + ", but " +
                                       device->name() + " is another chip; give the bmodel for " +
                                       chip);
  const auto& bmrt = device->library().bmrt;
  std::shared_ptr<const Runtime> runtime;  // outlives the lock, which its end takes
  std::vector<std::shared_ptr<const Network>> networks;
  constexpr int kLoadTimes = 10;  // as long as other calls: it reads the file
  const Device::Turn turn(*device, "loading a model", kLoadTimes);
  device->free_returned();
  runtime = std::make_shared<const Runtime>(device, path);
  const int count = bmrt.network_number(runtime->handle());
  if (count < 1 || count > kMostNetworks)
    throw Error(ErrorCode::kModel, path + " holds " + std::to_string(count) +
                                       " networks; expected 1 to " + std::to_string(kMostNetworks));
  const char** names = nullptr;
  bmrt.network_names(runtime->handle(), &names);
  const std::unique_ptr<const char*, void (*)(void*)> owner(names, [](void* p) { std::free(p); });
  for (int i = 0; i < count; ++i) {
    const abi::NetworkInfo* info =
        names && names[i] ? bmrt.network_info(runtime->handle(), names[i]) : nullptr;
    const auto plausible = [](int ports) { return ports >= 1 && ports <= kMaxPorts; };
    if (!info || !info->name || info->stage_num < 1 || !plausible(info->input_num) ||
        !plausible(info->output_num))
      throw Error(ErrorCode::kModel, path + ": the runtime's description of network " +
                                         std::to_string(i) +
                                         " makes no sense: libbmrt may be of another version");
    networks.push_back(std::shared_ptr<const Network>(new Network(device, runtime, path, *info)));
  }
  return networks;
}

Network::Network(std::shared_ptr<Device> device, std::shared_ptr<const Runtime> runtime,
                 std::string path, const abi::NetworkInfo& info)
    : device_(std::move(device)),
      runtime_(std::move(runtime)),
      path_(std::move(path)),
      name_(info.name) {
  for (int i = 0; i < info.input_num; ++i)
    inputs_.push_back(read_port(info.input_names[i], info.input_dtypes[i],
                                info.stages[0].input_shapes[i], info.max_input_bytes[i], path_));
  for (int i = 0; i < info.output_num; ++i)
    outputs_.push_back(read_port(info.output_names[i], info.output_dtypes[i],
                                 info.stages[0].output_shapes[i], info.max_output_bytes[i], path_));
  if (device_->cores() == 1) return;  // an older runtime's description ends before core_num
  cores_ = std::max(info.core_num, 1);
  if (cores_ > device_->cores())
    throw Error(ErrorCode::kModel, path_ + " is compiled for " + std::to_string(cores_) +
                                       " cores; " + device_->name() + " has " +
                                       std::to_string(device_->cores()));
}

std::string Network::signature() const {
  return name_ + ": " + list(inputs_) + " -> " + list(outputs_);
}

ExecutableUse Network::use() const {
  return {device_->name(),
          name_,
          list(inputs_),
          list(outputs_),
          cores_,
          launches_.load(),
          static_cast<double>(nanoseconds_.load()) * 1e-6};
}

std::unique_ptr<DeviceMemory> Network::make_input(std::size_t index) const {
  return std::make_unique<DeviceMemory>(device_, inputs_.at(index).capacity);
}

std::unique_ptr<DeviceMemory> Network::make_output(std::size_t index) const {
  return std::make_unique<DeviceMemory>(device_, outputs_.at(index).capacity);
}

void Network::launch(std::span<const abi::Tensor> inputs, std::span<abi::Tensor> outputs,
                     const std::vector<int>& cores) const {
  constexpr bool kOwnMemory = true, kOwnStoreMode = false;
  const auto& bmrt = device_->library().bmrt;
  const int in = static_cast<int>(inputs.size()), out = static_cast<int>(outputs.size());
  const Device::Turn turn(*device_, "launching a network");
  const bool launched =
      device_->cores() == 1
          ? bmrt.launch(runtime_->handle(), name_.c_str(), inputs.data(), in, outputs.data(), out,
                        kOwnMemory, kOwnStoreMode)
          : bmrt.launch_on_cores(runtime_->handle(), name_.c_str(), inputs.data(), in,
                                 outputs.data(), out, kOwnMemory, kOwnStoreMode, cores.data(),
                                 static_cast<int>(cores.size()));
  if (!launched)
    device_->went_wrong(Device::Call::kRun,
                        device_->name() + " failed to run network \"" + name_ + "\"" + kItsMessage);
}

void Network::run(std::span<const DeviceMemory* const> inputs,
                  std::span<DeviceMemory* const> outputs) const {
  const std::vector<abi::Tensor> in = tensors(inputs_, inputs);
  std::vector<abi::Tensor> out = tensors(outputs_, outputs);
  const Device::Cores cores(*device_, cores_);
  StageZone zone(name_);
  launch(in, out, cores.list());
  cores.synchronize();
  nanoseconds_ += static_cast<std::uint64_t>(zone.finish() * 1e6);
  ++launches_;
}

void Network::try_once() const {
  std::vector<std::unique_ptr<DeviceMemory>> owned;
  std::vector<const DeviceMemory*> in;
  std::vector<DeviceMemory*> out;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    owned.push_back(make_input(i));
    owned.back()->upload(std::vector<std::byte>(owned.back()->bytes()));
    in.push_back(owned.back().get());
  }
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    owned.push_back(make_output(i));
    out.push_back(owned.back().get());
  }
  run(in, out);
  for (const DeviceMemory* made : out) {
    std::vector<std::byte> copy(made->bytes());
    made->download(copy);
  }
  nanoseconds_ = launches_ = 0;  // it was no task's
}

}  // namespace blip::backend::sophon
