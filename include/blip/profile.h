// Where time goes: the library's work in zones, told as they end.
//
//   std::mutex mutex;
//   std::map<std::string, double> ms;
//   {
//     blip::Profile profile(blip::ZoneDetail::kStages, [&](const blip::Zone& zone) {
//       const std::lock_guard lock(mutex);
//       ms[std::string(zone.name)] += zone.microseconds / 1000;
//     });
//     session.caption(session.encode(image));
//   }  // "preprocess", "encode", "prefill", "token", ...
//
// Zones of one thread lie within each other or beside each other. Without a profile they cost next
// to nothing. docs/CLI.md lists their names, which are no part of what stays compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#pragma GCC visibility push(default)
namespace blip {

enum class ZoneDetail {
  kStages,      // some tens for a picture: loading, reading, the picture network, each token
  kOperations,  // what lies within them too: layers, products, each thread's share of a loop
};

// A piece of work that has ended.
struct Zone {
  std::string_view name;  // valid during the callback
  ZoneDetail detail = ZoneDetail::kStages;
  int thread = 0;           // 1, 2, ... in the order in which threads ended their first zone
  double start_us = 0;      // of one steady clock for all zones of a process
  double microseconds = 0;  // how long it took
  // Of all that lay in it on the CPU: products and sums, two operations where they go together;
  // and the weights, keys and values that were read, each once for an operation. 0 on other
  // devices.
  double operations = 0, bytes = 0;
  int items = 1;  // pictures, texts or rows that it was for
};

// Called on the thread that did the work, by several threads at a time, and not for the zones of
// a callback's own calls. It must not throw, and not end the profile.
using ZoneCallback = std::function<void(const Zone&)>;

// From when it is made until it is destroyed, every zone of the process that ends goes to the
// callback. There may be several profiles. The child of a fork has none. Thread-safe.
class Profile {
 public:
  Profile(ZoneDetail detail, ZoneCallback callback);
  ~Profile();  // waits for callbacks that run
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blip
#pragma GCC visibility pop
