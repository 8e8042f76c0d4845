// One model on several chips: pictures are spread over them, and the tasks of a picture run where
// it was encoded. A chip of several cores works on as many pictures at a time as its cores allow. A
// chip that fails is left out until the model is loaded on it again; the others go on.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/sophon/runtime.h"

namespace blip::backend::sophon {

// The model on one chip.
class ChipModel : public Model {
 public:
  virtual const Device& device() const = 0;
  virtual std::vector<std::shared_ptr<const Network>> networks() const = 0;
  // How many of its networks the chip can run at a time, each on cores of its own.
  int threads() const final;
  std::vector<ExecutableUse> executables() const final;
};

// How many pictures each chip holds, and which chips work.
class Load {
 public:
  explicit Load(std::size_t chips) : chips_(chips) {}
  // Counts a picture on the chip that holds the fewest of those that work; equal ones take turns.
  // nullopt where none works.
  std::optional<std::size_t> take();
  void release(std::size_t chip);
  void set_works(std::size_t chip, bool works);

 private:
  struct Chip {
    std::size_t held = 0;
    bool works = true;
  };
  std::mutex mutex_;
  std::vector<Chip> chips_;
  std::size_t next_ = 0;
};

// Loads the model on a chip; called again, from another thread, after the chip has failed.
struct ChipLoader {
  std::string chip;  // "sophon:0"
  std::function<std::shared_ptr<const ChipModel>()> load;
};

// Called with every result before it is given out, and throws where it must not be: for a model
// whose files are still being checked.
using Approve = std::function<void()>;

// Loads the model on each chip, at least one. Throws what loading throws.
std::shared_ptr<const Model> spread(std::vector<ChipLoader> loaders, Approve approve);

}  // namespace blip::backend::sophon
