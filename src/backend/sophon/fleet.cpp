#include "backend/sophon/fleet.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "backend/sophon/guard.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

// A chip that failed is tried again after the first, then each time after twice as long, up to the
// last.
constexpr auto kFirstRetry = std::chrono::milliseconds(500),
               kLastRetry = std::chrono::milliseconds(30'000);

}  // namespace

Fleet::Fleet(std::vector<ChipLoader> loaders) : load_(loaders.size()) {
  for (ChipLoader& loader : loaders) {
    Loaded loaded = load_on(loader, false);
    chips_.push_back({std::move(loader), std::move(loaded), ""});
  }
}

Fleet::~Fleet() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (reviver_.joinable()) reviver_.join();
}

bool Fleet::stopping() const {
  const std::lock_guard lock(mutex_);
  return stop_;
}

// again: the chip failed before, so every network has to run once before it is trusted.
Fleet::Loaded Fleet::load_on(const ChipLoader& loader, bool again) const {
  auto made = std::make_shared<Loaded>();
  Guard guard(loader.chip);
  guard.run(
      [made, load = loader.load, again] {
        made->model = load();
        if (!again) return;
        for (const auto& network : made->model->networks()) network->try_once();
      },
      [this] { return stopping(); });
  return *made;
}

Fleet::Loaded Fleet::get(std::size_t chip) const {
  const std::lock_guard lock(mutex_);
  return chips_[chip].loaded;
}

bool Fleet::works(std::size_t chip) const { return fault(chip).empty(); }

std::string Fleet::fault(std::size_t chip) const {
  const std::lock_guard lock(mutex_);
  return chips_[chip].fault;
}

std::vector<std::string> Fleet::faults() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> list;
  for (const Chip& chip : chips_)
    if (!chip.fault.empty()) list.push_back(chip.fault);
  return list;
}

bool Fleet::examine(std::size_t chip, const Loaded& loaded, bool hung, const std::string& what) {
  const Device& device = loaded.model->device();
  if (hung) device.fail(what);
  if (!device.failed()) return false;
  const std::lock_guard lock(mutex_);
  Chip& failed = chips_[chip];
  if (failed.loaded.loadings != loaded.loadings || !failed.fault.empty() || stop_) return true;
  failed.fault = device.failure();
  load_.set_works(chip, false);
  if (reviving_) {
    changed_.notify_all();
    return true;
  }
  if (reviver_.joinable()) reviver_.join();  // it has ended: nothing was left to do
  reviving_ = true;
  reviver_ = std::thread([this] { revive(); });
  return true;
}

void Fleet::revive() {
  auto pause = kFirstRetry;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, pause, [this] { return stop_; });
    pause = std::min(2 * pause, kLastRetry);
    for (std::size_t i = 0; i < chips_.size() && !stop_; ++i) {
      if (chips_[i].fault.empty()) continue;
      const ChipLoader loader = chips_[i].loader;
      lock.unlock();
      Loaded loaded;
      try {
        loaded = load_on(loader, true);
      } catch (const std::exception&) {  // not yet; what it failed at is what users are told
      }
      lock.lock();
      if (!loaded.model) continue;
      loaded.loadings = chips_[i].loaded.loadings + 1;
      std::swap(chips_[i].loaded, loaded);
      chips_[i].fault.clear();
      load_.set_works(i, true);
      lock.unlock();
      loaded.model.reset();  // the old one
      lock.lock();
    }
    const bool all_work = std::all_of(chips_.begin(), chips_.end(),
                                      [](const Chip& chip) { return chip.fault.empty(); });
    if (stop_ || all_work) {
      reviving_ = false;
      return;
    }
  }
}

}  // namespace blip::backend::sophon
