#include "cli/interrupt.h"

#include <signal.h>

#include <atomic>

#include "cli/exit.h"

namespace blip::cli {
namespace {

std::atomic<int> g_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int number) { g_signal = number; }

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  // No SA_RESTART: a read() at the prompt must return. SA_RESETHAND: the second signal kills.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int interrupted() { return g_signal; }

void stop_if_interrupted() {
  if (int number = interrupted()) throw Exit(kExitSignal + number, "");
}

}  // namespace blip::cli
