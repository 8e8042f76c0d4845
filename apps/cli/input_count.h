// How many inputs there are, found out while the first of them are worked on.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "cli/source.h"

namespace blip::cli {

class InputCount {
 public:
  // Goes through the source, which gives the same as the one that is worked on; counts: which
  // inputs. Without a source there is no count.
  InputCount(std::unique_ptr<Source> source, std::function<bool(const Input&)> counts);
  ~InputCount();
  InputCount(const InputCount&) = delete;
  InputCount& operator=(const InputCount&) = delete;

  // nullopt as long as it is not known.
  std::optional<std::size_t> total() const;

 private:
  void count(const std::function<bool(const Input&)>& counts);

  std::unique_ptr<Source> source_;
  std::atomic<bool> stop_{false}, complete_{false};
  std::atomic<std::size_t> total_{0};
  std::thread thread_;
};

}  // namespace blip::cli
