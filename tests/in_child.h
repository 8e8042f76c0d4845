#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace blip {

// Runs body in a forked child; true where it returned true. A child that takes `seconds` has hung,
// which is a failure.
inline bool in_child(const std::function<bool()>& body, unsigned seconds = 120) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(seconds);
    bool good = false;
    try {
      good = body();
    } catch (...) {
    }
    _exit(good ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace blip

// For tests whose children of a fork start threads.
#if defined(BLIP_TESTS_THREAD_SANITIZED)
#define SKIP_WITHOUT_THREADS_AFTER_FORK() \
  GTEST_SKIP() << "the thread sanitizer lets no threads start after a fork"
#elif defined(BLIP_TESTS_EMULATED)
#define SKIP_WITHOUT_THREADS_AFTER_FORK() \
  GTEST_SKIP() << "qemu-user ends when the child of a fork starts threads"
#else
#define SKIP_WITHOUT_THREADS_AFTER_FORK() static_cast<void>(0)
#endif
