#include "cli/prefetch.h"

#include <new>

namespace blip::cli {
namespace {

// Decoded pixels that may wait. One picture always may, whatever its size.
constexpr std::size_t kReadyBytes = std::size_t{256} << 20;

std::size_t decoded_bytes(const Decoded& decoded) {
  if (!decoded.image) return 0;
  return std::size_t{3} * static_cast<std::size_t>(decoded.image->width()) * static_cast<std::size_t>(decoded.image->height());
}

Decoded decode(const Input& input, const DecodeOptions& options, const Prefetch::Prepare& prepare,
               const std::function<bool()>& stop) {
  Decoded decoded{input.name, std::nullopt, input.error};
  if (!decoded.error.empty()) return decoded;
  try {
    decoded.image = read_image(input.name, options, stop);
    if (prepare) decoded.image = prepare(*decoded.image);
  } catch (const Error& error) {
    decoded.error = error.what();
  } catch (const std::bad_alloc&) {
    decoded.error = "not enough memory to decode " + input.name;
  }
  return decoded;
}

}  // namespace

Prefetch::Prefetch(std::vector<Input> inputs, const DecodeOptions& options, std::size_t ahead,
                   Prepare prepare)
    : inputs_(std::move(inputs)),
      options_(options),
      ahead_(ahead),
      prepare_(std::move(prepare)),
      thread_([this] { decode_all(); }) {}

Prefetch::~Prefetch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Prefetch::has_room() const { return ready_.empty() || (ready_.size() < ahead_ && ready_bytes_ < kReadyBytes); }

void Prefetch::decode_all() {
  for (const Input& input : inputs_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || has_room(); });
      if (stop_) return;
    }
    try {
      const auto stopped = [this] {
        const std::lock_guard lock(mutex_);
        return stop_;
      };
      Decoded decoded = decode(input, options_, prepare_, stopped);
      const std::lock_guard lock(mutex_);
      ready_bytes_ += decoded_bytes(decoded);
      ready_.push_back(std::move(decoded));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
      stop_ = true;
    }
    changed_.notify_all();
  }
}

std::optional<Decoded> Prefetch::next() {
  if (taken_ == inputs_.size()) return std::nullopt;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || !ready_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
  Decoded decoded = std::move(ready_.front());
  ready_.pop_front();
  ready_bytes_ -= decoded_bytes(decoded);
  ++taken_;
  lock.unlock();
  changed_.notify_all();
  return decoded;
}

}  // namespace blip::cli
