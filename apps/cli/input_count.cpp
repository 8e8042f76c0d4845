#include "cli/input_count.h"

#include <exception>
#include <utility>

namespace blip::cli {

InputCount::InputCount(std::unique_ptr<Source> source, std::function<bool(const Input&)> counts)
    : source_(std::move(source)) {
  if (source_) thread_ = std::thread([this, counts = std::move(counts)] { count(counts); });
}

InputCount::~InputCount() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

std::optional<std::size_t> InputCount::total() const {
  if (!complete_) return std::nullopt;
  return total_;
}

void InputCount::count(const std::function<bool(const Input&)>& counts) {
  try {
    const auto stopped = [this] { return stop_.load(); };
    std::size_t inputs = 0;
    const auto no_bytes = [](const std::string&) { return false; };
    while (std::optional<Input> input = source_->next(stopped, no_bytes)) {
      if (stop_) return;
      if (counts(*input)) ++inputs;
    }
    total_ = inputs;
    complete_ = true;
  } catch (const std::exception&) {
    // Interrupted, or out of memory: a count is worth no more than that.
  }
}

}  // namespace blip::cli
