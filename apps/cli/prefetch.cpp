#include "cli/prefetch.h"

#include <bit>
#include <new>
#include <utility>

#include "blip/look.h"

namespace blip::cli {
namespace {

// Decoded pixels that may wait. One picture always may, whatever its size.
constexpr std::size_t kReadyBytes = std::size_t{256} << 20;

std::size_t decoded_bytes(const Decoded& decoded) {
  if (!decoded.image) return 0;
  return std::size_t{3} * static_cast<std::size_t>(decoded.image->width()) *
         static_cast<std::size_t>(decoded.image->height());
}

}  // namespace

Prefetch::Prefetch(Next next, const DecodeOptions& options, std::size_t ahead, Prepare prepare,
                   const Dedupe& dedupe)
    : source_(std::move(next)),
      options_(options),
      ahead_(ahead),
      prepare_(std::move(prepare)),
      dedupe_bytes_(dedupe.bytes) {
  if (dedupe.near_distance) looks_.emplace(*dedupe.near_distance);
  thread_ = std::thread([this] { decode_all(); });
}

Prefetch::~Prefetch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Prefetch::has_room() const {
  return ready_.empty() || (ready_.size() < ahead_ && ready_bytes_ < kReadyBytes);
}

void Prefetch::find_content(Decoded& decoded) {
  decoded.content = content_of(decoded, options_.limits.max_bytes);
  if (!decoded.content) return;
  decoded.duplicate = contents_.find(*decoded.content) != nullptr;
  if (!decoded.duplicate) contents_.put(*decoded.content, {});
}

// A picture without any structure is no more like one than like another.
void Prefetch::find_look(Decoded& decoded) {
  const std::uint64_t look = perceptual_hash(*decoded.image);
  if (std::popcount(look) <= 1) return;
  decoded.looks_like = looks_->find(look);
  if (decoded.looks_like)
    decoded.image.reset();
  else
    decoded.look = looks_->add(look);
}

std::optional<Decoded> Prefetch::decode_next(const Stop& stop) {
  std::optional<Input> input = source_(stop);
  if (!input) return std::nullopt;
  Decoded decoded{std::move(*input), std::nullopt};
  if (decoded.pause || !decoded.error.empty()) return decoded;
  if (decoded.row && decoded.name == last_.name) {
    decoded.same_picture = true;
    decoded.image = last_.image;
    decoded.error = last_.error;
    return decoded;
  }
  decode(decoded, stop);
  last_ = {};
  if (decoded.row) {
    last_.name = decoded.name;
    last_.image = decoded.image;
    last_.error = decoded.error;
  }
  return decoded;
}

void Prefetch::decode(Decoded& decoded, const Stop& stop) {
  try {
    if (dedupe_bytes_ && !decoded.row) find_content(decoded);
    if (!decoded.duplicate) decoded.image = read_image(decoded, options_, stop);
    decoded.bytes.reset();
    if (looks_ && decoded.image && !decoded.row) find_look(decoded);
    if (prepare_ && decoded.image) decoded.image = prepare_(*decoded.image);
  } catch (const Error& error) {
    decoded.error = error.what();
  } catch (const std::bad_alloc&) {
    decoded.error = "not enough memory to decode " + decoded.name;
  }
  if (!decoded.error.empty()) decoded.image.reset();
}

void Prefetch::decode_all() {
  const auto stopped = [this] {
    const std::lock_guard lock(mutex_);
    return stop_;
  };
  for (bool more = true; more;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || has_room(); });
      if (stop_) return;
    }
    try {
      std::optional<Decoded> decoded = decode_next(stopped);
      const std::lock_guard lock(mutex_);
      more = decoded.has_value();
      ended_ = !more;
      if (more) {
        ready_bytes_ += decoded_bytes(*decoded);
        ready_.push_back(std::move(*decoded));
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
      more = false;
    }
    changed_.notify_all();
  }
}

bool Prefetch::is_ready() {
  const std::lock_guard lock(mutex_);
  return !ready_.empty() || ended_;
}

std::optional<Decoded> Prefetch::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || ended_ || !ready_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
  if (ready_.empty()) return std::nullopt;
  Decoded decoded = std::move(ready_.front());
  ready_.pop_front();
  ready_bytes_ -= decoded_bytes(decoded);
  lock.unlock();
  changed_.notify_all();
  return decoded;
}

}  // namespace blip::cli
