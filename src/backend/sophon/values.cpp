#include "backend/sophon/values.h"

#include <algorithm>

#include "blip/error.h"
#include "io/half.h"

namespace blip::backend::sophon {

void upload_numbers(DeviceMemory& memory, const Port& port, std::span<const std::int32_t> values) {
  if (port.dtype == abi::DataType::kI32) return memory.upload(std::as_bytes(values));
  const std::vector<float> floats(values.begin(), values.end());
  upload_floats(memory, floats);
}

std::vector<float> download_floats(const DeviceMemory& memory, const Port& port,
                                   std::size_t count) {
  std::vector<float> values(count);
  if (port.dtype == abi::DataType::kF32) {
    memory.download(std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<std::uint16_t> halves(count);
  memory.download(std::as_writable_bytes(std::span(halves)));
  const auto convert = port.dtype == abi::DataType::kF16 ? io::f16_to_f32 : io::bf16_to_f32;
  std::transform(halves.begin(), halves.end(), values.begin(), convert);
  return values;
}

Tensor download_tensor(const DeviceMemory& memory, const Port& port) {
  Tensor tensor;
  for (int i = 0; i < port.shape.num_dims; ++i) tensor.shape.push_back(port.shape.dims[i]);
  tensor.values = download_floats(memory, port, port.elements());
  return tensor;
}

void poll(const decode::Hooks& hooks) {
  if (hooks.cancel && hooks.cancel()) throw Error(ErrorCode::kCancelled, "cancelled");
}

DeviceMemory& Launcher::input(std::size_t index) {
  if (!inputs_[index]) inputs_[index] = network_.make_input(index);
  return *inputs_[index];
}

DeviceMemory& Launcher::output(std::size_t index) {
  if (!outputs_[index]) outputs_[index] = network_.make_output(index);
  return *outputs_[index];
}

void Launcher::run(std::vector<const DeviceMemory*> inputs, std::vector<DeviceMemory*> outputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!inputs[i]) inputs[i] = &input(i);
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (!outputs[i]) outputs[i] = &output(i);
  network_.run(inputs, outputs);
}

}  // namespace blip::backend::sophon
