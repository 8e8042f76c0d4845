// Scoped zones: what blip/profile.h tells. A zone is an object on the stack of the thread that does
// the work. Without a profile it is a load and a branch, but for StageZone, which always measures.
#pragma once

#include <atomic>
#include <chrono>
#include <string_view>
#include <type_traits>
#include <utility>

#include "blip/profile.h"

namespace blip {

// The finest detail that some profile wants, plus 1; 0: there is no profile.
extern std::atomic<int> zone_level;

inline bool zones_on() { return zone_level.load(std::memory_order_relaxed) > 0; }

// The work of an open zone, which goes to the zone around it when it ends.
struct ZoneFrame {
  ZoneFrame* around = nullptr;
  double operations = 0, bytes = 0;
};

// What both kinds of zones share. One thread.
class OpenZone {
 public:
  OpenZone(const OpenZone&) = delete;
  OpenZone& operator=(const OpenZone&) = delete;

 protected:
  using Clock = std::chrono::steady_clock;
  OpenZone() = default;
  ~OpenZone() = default;
  void enter(std::string_view name, ZoneDetail detail, int items, Clock::time_point now);
  void leave(Clock::time_point now);

  ZoneFrame frame_;
  bool entered_ = false;

 private:
  std::string_view name_;
  ZoneDetail detail_ = ZoneDetail::kStages;
  int items_ = 1;
  Clock::time_point start_;
};

// A stage of a task, whose time results tell too. name must outlive it. items: the pictures, texts
// or rows that it is for.
class StageZone : private OpenZone {
 public:
  explicit StageZone(std::string_view name, std::size_t items = 1) : started_(Clock::now()) {
    if (zones_on()) enter(name, ZoneDetail::kStages, static_cast<int>(items), started_);
  }
  ~StageZone() { finish(); }

  // Ends it, unless that was done; the milliseconds that it took.
  double finish() {
    if (!finished_) {
      ended_ = Clock::now();
      finished_ = true;
      if (entered_) leave(ended_);
    }
    return std::chrono::duration<double, std::milli>(ended_ - started_).count();
  }

 private:
  Clock::time_point started_, ended_;
  bool finished_ = false;
};

// A piece of a stage. operations and bytes: its own, beside those of the zones within it.
class OperationZone : private OpenZone {
 public:
  explicit OperationZone(std::string_view name, double operations = 0, double bytes = 0) {
    if (zones_on()) start(name, operations, bytes);
  }
  // work: a function that returns both, called where somebody listens.
  template <class Work>
  requires std::is_invocable_r_v<std::pair<double, double>, Work> OperationZone(
      std::string_view name, const Work& work) {
    if (!zones_on()) return;
    const std::pair<double, double> sums = work();
    start(name, sums.first, sums.second);
  }
  ~OperationZone() {
    if (entered_) leave(Clock::now());
  }

 private:
  void start(std::string_view name, double operations, double bytes);
};

}  // namespace blip
