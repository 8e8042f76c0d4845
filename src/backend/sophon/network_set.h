// The networks of a compiled folder on one chip, checked against its manifest.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/sophon/manifest.h"
#include "backend/sophon/runtime.h"

namespace blip::backend::sophon {

using NetworkPtr = std::shared_ptr<const Network>;

// The ways of keeping keys and values: NETWORKS.md.
enum class CrossLayout { kLongAxis, kByToken, kByLayer };

// What the networks of a folder have in common; the first that has it says what it is.
struct Common {
  std::optional<abi::DataType> kept;  // type of the tensors that stay on the chip
  // How keys and values of an image or a question are kept, of each network that makes them.
  std::map<Part, CrossLayout> crosses;
};

// Error(kModel) unless the inputs and outputs are those of NETWORKS.md for this part with these
// rows, and agree with what is known of the others.
void check_ports(const Manifest& manifest, const Manifest::Entry& entry,
                 std::span<const Port> inputs, std::span<const Port> outputs, Common& common);

// The rows of the networks to run for `rows` rows: the fewest that hold them, or else the largest
// several times. sizes: ascending.
std::vector<int> split_rows(int rows, std::span<const int> sizes);

class NetworkSet {
 public:
  // Throws Error(kIo | kModel | kDevice).
  NetworkSet(Manifest manifest, const std::shared_ptr<Device>& device);

  const Manifest& manifest() const { return manifest_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  bool has(Part part) const { return !sizes(part).empty(); }
  const std::vector<int>& sizes(Part part) const {
    return sizes_[static_cast<std::size_t>(part)];
  }  // ascending
  const Network& get(Part part, int rows = 1) const;
  // Of a step: whether it takes the rows of the cache that its own continue.
  bool takes_parents(Part step, int rows) const;
  std::vector<NetworkPtr> all() const;

 private:
  void open_file(const std::string& file, const std::shared_ptr<Device>& device);
  Manifest manifest_;
  std::shared_ptr<Device> device_;
  std::array<std::vector<int>, kParts> sizes_;
  std::array<std::vector<NetworkPtr>, kParts> networks_;  // in the order of sizes_
};

}  // namespace blip::backend::sophon
