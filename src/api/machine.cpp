#include "blip/machine.h"

#include "api/impl.h"
#include "base/resources.h"
#include "core/thread_pool.h"
#include "kernels/isa.h"
#include "kernels/machine_speed.h"

namespace blip {

const char* vector_instructions() { return kernels::to_string(kernels::isa()); }

struct MachineProbe::Impl {
  explicit Impl(int threads) : pool(threads) {}
  ThreadPool pool;
  kernels::MemorySpeed memory{pool};
};

MachineProbe::MachineProbe(int threads) {
  check_threads(threads);
  kernels::isa();  // its errors come before any work
  impl_ = std::make_unique<Impl>(threads ? threads : available_cpus());
}
MachineProbe::~MachineProbe() = default;

MachineSpeed MachineProbe::measure() {
  return kernels::measure_machine(impl_->pool, impl_->memory, available_cpus());
}

double MachineProbe::read_gb_s() { return impl_->memory.read_gb_s(); }

}  // namespace blip
