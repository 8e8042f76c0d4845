#include "cli/interrupt.h"

#include <poll.h>
#include <signal.h>

#include <atomic>
#include <cerrno>

#include "cli/exit.h"

namespace blip::cli {
namespace {

std::atomic<int> g_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int number) {
  if (g_signal.exchange(number) == 0) return;
  // The second: as if nothing had been caught. It is held back until this handler returns.
  signal(number, SIG_DFL);
  raise(number);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = 0;  // no SA_RESTART: a read() at the prompt must return
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int interrupted() { return g_signal; }

void stop_if_interrupted() {
  if (int number = interrupted()) throw Exit(kExitSignal + number, "");
}

Wait wait_for_input(int fd, const std::function<bool()>& stop) {
  constexpr int kMilliseconds = 100;
  if (interrupted() != 0 || (stop && stop())) return Wait::kStopped;
  pollfd input = {fd, POLLIN, 0};
  const int ready = ::poll(&input, 1, kMilliseconds);
  if (ready < 0 && errno != EINTR) return Wait::kReady;  // read() says what is wrong
  return ready > 0 ? Wait::kReady : Wait::kNothing;
}

}  // namespace blip::cli
