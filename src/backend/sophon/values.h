// Numbers to and from the chip, in the types that its networks take and give.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/sophon/runtime.h"

namespace blip::backend::sophon {

using MemoryPtr = std::unique_ptr<DeviceMemory>;

// Whole numbers (ids, positions, masks), as int32 or f32.
void upload_numbers(DeviceMemory& memory, const Port& port, std::span<const std::int32_t> values);
inline void upload_floats(DeviceMemory& memory, std::span<const float> values) {
  memory.upload(std::as_bytes(values));
}

// The first `count` values; f32, f16 or bf16.
std::vector<float> download_floats(const DeviceMemory& memory, const Port& port, std::size_t count);
// All of them, in the port's shape.
Tensor download_tensor(const DeviceMemory& memory, const Port& port);

void poll(const decode::Hooks& hooks);  // throws Error(kCancelled)

// A network and memory for those of its values that lie nowhere else, made at first use. One thread
// at a time.
class Launcher {
 public:
  explicit Launcher(const Network& network)
      : network_(network), inputs_(network.inputs().size()), outputs_(network.outputs().size()) {}

  const Network& network() const { return network_; }
  DeviceMemory& input(std::size_t index);
  DeviceMemory& output(std::size_t index);
  void put_numbers(std::size_t index, std::span<const std::int32_t> values) {
    upload_numbers(input(index), network_.inputs()[index], values);
  }
  void put_floats(std::size_t index, std::span<const float> values) {
    upload_floats(input(index), values);
  }
  std::vector<float> floats(std::size_t index, std::size_t count) {
    return download_floats(output(index), network_.outputs()[index], count);
  }
  // null: the memory above.
  void run(std::vector<const DeviceMemory*> inputs, std::vector<DeviceMemory*> outputs);

 private:
  const Network& network_;
  std::vector<MemoryPtr> inputs_, outputs_;
};

}  // namespace blip::backend::sophon
