#include "base/resources.h"

#include <gtest/gtest.h>

#include <thread>

namespace blip {
namespace {

TEST(AvailableCpus, IsWithinTheMachine) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_LE(available_cpus(), static_cast<int>(std::thread::hardware_concurrency()));
  EXPECT_GE(static_cast<int>(allowed_cpus().size()), available_cpus());
}

}  // namespace
}  // namespace blip
