// Calls of the vendor's library that may never return: a chip that hangs keeps the thread that
// waits for it, and with it whatever that thread would have done next. So work on a chip is done on
// a thread that can be left behind.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace blip::backend::sophon {

// The environment variable that says how many seconds a call may take; 0: any time.
constexpr const char* kTimeoutVariable = "BLIP_SOPHON_TIMEOUT";

// How long one call of the vendor's library may take. A chip needs a second or two for its slowest
// network; an emulator (emulated: by its folder) takes the time it takes. Throws Error(kUsage) for
// a variable that is no number.
using Limit = std::chrono::milliseconds;
constexpr Limit kNoLimit = Limit::max();
Limit call_limit(bool emulated);

// On the stack around one call of the vendor's library; what: "launching vision_1". Tells the Guard
// of this thread, if there is one, since when it waits. what must outlive it.
class CallTimer {
 public:
  CallTimer(Limit limit, const char* what);
  ~CallTimer();
  CallTimer(const CallTimer&) = delete;
  CallTimer& operator=(const CallTimer&) = delete;
};

// A thread for work on one chip. One caller at a time.
class Guard {
 public:
  // name: of the chip, for messages.
  explicit Guard(std::string name);
  ~Guard();  // waits for nothing that hangs
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // Does the work on the guard's thread and throws what it throws. Where a call in it takes longer
  // than its limit, or `stop` says so, the thread is left behind with the work: Error(kDevice). The
  // work must therefore own everything that it touches.
  void run(std::function<void()> work, const std::function<bool()>& stop = {});
  // Its thread was left behind: of no more use.
  bool hung() const { return hung_; }

 private:
  struct Shared;
  static void serve(const std::shared_ptr<Shared>& shared);
  void leave_behind(const std::string& why);
  std::string name_;
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
  bool hung_ = false;
};

// For destructors: does `work` within the limit; a chip that hangs at it keeps its thread.
void close_guarded(const std::string& name, Limit limit, const char* what,
                   std::function<void()> work) noexcept;

}  // namespace blip::backend::sophon
