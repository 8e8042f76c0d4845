// What was put in last, by keys: no more than so many, of which the oldest goes first.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <utility>

#include "jobs/key.h"

namespace blip::cli {

template <class Value>
class Recent {
 public:
  explicit Recent(std::size_t most) : most_(most) {}

  // nullptr: it is not there, or not any more.
  const Value* find(jobs::Key key) const {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : &found->second->second;
  }

  // What was there under the key goes; it is the newest now.
  void put(jobs::Key key, Value value) {
    if (const auto found = places_.find(key); found != places_.end()) values_.erase(found->second);
    values_.emplace_back(key, std::move(value));
    places_[key] = std::prev(values_.end());
    if (values_.size() <= most_) return;
    places_.erase(values_.front().first);
    values_.pop_front();
  }

 private:
  using Values = std::list<std::pair<jobs::Key, Value>>;
  const std::size_t most_;
  Values values_;  // the oldest first
  std::unordered_map<jobs::Key, typename Values::iterator, jobs::KeyHash> places_;
};

}  // namespace blip::cli
