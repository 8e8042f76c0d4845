#include "base/resources.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

namespace blip {
namespace {

// cgroup v2 "max 100000" or "quota period"; v1 keeps the two in two files. 0 = no limit known.
int cgroup_cpus() {
  double quota = 0, period = 0;
  std::string first;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> first >> period) {
    if (first == "max") return 0;
    std::ifstream again("/sys/fs/cgroup/cpu.max");
    again >> quota;
  } else {
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(q >> quota) || !(p >> period)) return 0;
  }
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
}

}  // namespace

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

int available_cpus() {
  int cpus = static_cast<int>(allowed_cpus().size());
  if (cpus == 0) cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (const int limit = cgroup_cpus()) cpus = std::min(cpus, limit);
  return std::max(1, cpus);
}

std::uint64_t available_memory() {
  std::uint64_t free = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string key, unit; info >> key && free == 0;) {
    std::uint64_t kilobytes = 0;
    if (key == "MemAvailable:" && info >> kilobytes) free = kilobytes * 1024;
  }
  // A container's limit less what it uses; "max" is none.
  std::uint64_t limit = 0, used = 0;
  std::ifstream v2("/sys/fs/cgroup/memory.max"), v2_used("/sys/fs/cgroup/memory.current");
  if (v2 >> limit && v2_used >> used) return std::min(free, limit > used ? limit - used : 0);
  std::ifstream v1("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
      v1_used("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  if (v1 >> limit && v1_used >> used) return std::min(free, limit > used ? limit - used : 0);
  return free;
}

}  // namespace blip
