#include "core/zone.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <utility>
#include <vector>

namespace blip {

std::atomic<int> zone_level{0};

struct Profile::Impl {
  ZoneDetail detail;
  ZoneCallback callback;
};

namespace {

struct Listener {
  ZoneDetail detail;
  const ZoneCallback* callback;
};

struct Listeners {
  std::shared_mutex mutex;  // shared while callbacks run
  std::vector<Listener> all;
};

// Never destroyed: threads may still end zones while the process ends.
Listeners& listeners() {
  static Listeners& one = *new Listeners;
  // A child of a fork has the lock as it was, held by threads that it does not have.
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    new (&listeners()) Listeners;
    zone_level = 0;
  });
  (void)registered;
  return one;
}

void set_level(const std::vector<Listener>& all) {
  int level = 0;
  for (const Listener& one : all) level = std::max(level, static_cast<int>(one.detail) + 1);
  zone_level = level;
}

std::atomic<int> threads{0};

struct ThreadZones {
  ZoneFrame* innermost = nullptr;
  int number = 0;
  bool telling = false;  // in a callback, whose own work is not told
};
thread_local ThreadZones here;

void tell(const Zone& zone) noexcept {
  here.telling = true;
  {
    const std::shared_lock lock(listeners().mutex);
    for (const Listener& one : listeners().all)
      if (zone.detail <= one.detail) (*one.callback)(zone);
  }
  here.telling = false;
}

double microseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

}  // namespace

void OpenZone::enter(std::string_view name, ZoneDetail detail, int items, Clock::time_point now) {
  if (here.telling) return;
  name_ = name;
  detail_ = detail;
  items_ = items;
  start_ = now;
  frame_.around = here.innermost;
  here.innermost = &frame_;
  entered_ = true;
}

void OpenZone::leave(Clock::time_point now) {
  entered_ = false;
  here.innermost = frame_.around;
  if (frame_.around) {
    frame_.around->operations += frame_.operations;
    frame_.around->bytes += frame_.bytes;
  }
  if (static_cast<int>(detail_) >= zone_level.load(std::memory_order_relaxed)) return;
  if (here.number == 0) here.number = threads.fetch_add(1) + 1;
  tell({.name = name_,
        .detail = detail_,
        .thread = here.number,
        .start_us = microseconds(start_.time_since_epoch()),
        .microseconds = microseconds(now - start_),
        .operations = frame_.operations,
        .bytes = frame_.bytes,
        .items = items_});
}

void OperationZone::start(std::string_view name, double operations, double bytes) {
  if (zone_level.load(std::memory_order_relaxed) > static_cast<int>(ZoneDetail::kOperations)) {
    enter(name, ZoneDetail::kOperations, 1, Clock::now());
    frame_.operations = operations;
    frame_.bytes = bytes;
  } else if (here.innermost) {  // stages alone are told, with the work in them
    here.innermost->operations += operations;
    here.innermost->bytes += bytes;
  }
}

Profile::Profile(ZoneDetail detail, ZoneCallback callback)
    : impl_(std::make_unique<Impl>(Impl{detail, std::move(callback)})) {
  Listeners& to = listeners();
  const std::unique_lock lock(to.mutex);
  to.all.push_back({detail, &impl_->callback});
  set_level(to.all);
}

Profile::~Profile() {
  Listeners& to = listeners();
  const std::unique_lock lock(to.mutex);
  std::erase_if(to.all, [&](const Listener& one) { return one.callback == &impl_->callback; });
  set_level(to.all);
}

}  // namespace blip
