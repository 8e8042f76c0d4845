// What the processor can do, as users of the library ask for it.
#include "blip/machine.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>

#include "blip/blip.h"

namespace blip {
namespace {

TEST(Machine, InstructionsHaveTheirNameEverywhere) {
  const std::set<std::string> known = {"baseline",    "avx2", "avx2_vnni", "avx512",
                                       "avx512_vnni", "amx",  "neon",      "dotprod",
                                       "avx512_bf16", "i8mm", "bf16"};
  const std::string used = vector_instructions();
  EXPECT_TRUE(known.contains(used)) << used;
  if (const char* forced = std::getenv("BLIP_FORCE_ISA")) {
    EXPECT_EQ(used, forced);
  }
}

TEST(Machine, ThreadsAreChecked) {
  for (const int threads : {-1, kMaxThreads + 1}) {
    try {
      MachineProbe probe(threads);
      ADD_FAILURE() << threads;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      EXPECT_EQ(std::string(error.what()),
                "threads must be 1 to 1024, or 0 for every core; got " + std::to_string(threads));
    }
  }
}

// Slower than this is no machine, faster none that there is.
TEST(Machine, MemoryIsReadAtSomeSpeed) {
  MachineProbe probe(1);
  const double speed = probe.read_gb_s();
  EXPECT_GT(speed, 0.01);
  EXPECT_LT(speed, 10000);
}

}  // namespace
}  // namespace blip
