// One model on several chips: pictures are spread over them, and the tasks of a picture run where
// it was encoded.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/backend.h"

namespace blip::backend::sophon {

// How many pictures each chip holds.
class Load {
 public:
  explicit Load(std::size_t chips) : held_(chips, 0), next_(0) {}
  // Counts a picture on the chip that holds the fewest; equal ones take turns.
  std::size_t take();
  void release(std::size_t chip);

 private:
  std::mutex mutex_;
  std::vector<std::size_t> held_;
  std::size_t next_;
};

// models: the same model on each chip, at least one.
std::shared_ptr<const Model> spread(std::vector<std::shared_ptr<const Model>> models);

}  // namespace blip::backend::sophon
