// What the stages of a program's work come to, by name: the benchmark's lines and the server's
// metrics.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "blip/profile.h"

namespace blip::apps {

struct ZoneSum {
  double ms = 0, operations = 0, bytes = 0;
  double count = 0;

  ZoneSum& operator+=(const ZoneSum& other) {
    ms += other.ms;
    operations += other.operations;
    bytes += other.bytes;
    count += other.count;
    return *this;
  }
  // Of one of them; nothing of none.
  ZoneSum mean() const {
    if (count == 0) return {};
    return {ms / count, operations / count, bytes / count, 1};
  }
};

// Of all threads of the process, while it lives. Thread-safe.
class ZoneSums {
 public:
  using Sums = std::map<std::string, ZoneSum, std::less<>>;

  // The sums since the last take(), or since it was made.
  Sums take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(sums_, {});
  }
  Sums sums() const {
    const std::lock_guard lock(mutex_);
    return sums_;
  }

 private:
  void add(const Zone& zone) {
    const std::lock_guard lock(mutex_);
    auto sum = sums_.find(zone.name);
    if (sum == sums_.end()) sum = sums_.try_emplace(std::string(zone.name)).first;
    sum->second += {zone.microseconds / 1000, zone.operations, zone.bytes, 1};
  }

  mutable std::mutex mutex_;
  Sums sums_;
  Profile profile_{ZoneDetail::kStages, [this](const Zone& zone) { add(zone); }};
};

}  // namespace blip::apps
