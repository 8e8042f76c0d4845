// The chips of a model: what each has loaded, which have failed, and loading the model again on
// those that come back. Thread-safe.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/sophon/chips.h"

namespace blip::backend::sophon {

class Fleet {
 public:
  // Loads the model everywhere. Throws what a loader throws, and Error(kDevice) for one that hangs.
  explicit Fleet(std::vector<ChipLoader> loaders);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  std::size_t size() const { return chips_.size(); }
  Load& load() { return load_; }
  // loadings: how many times the model was loaded there; what was made of an earlier one is lost.
  struct Loaded {
    std::shared_ptr<const ChipModel> model;
    unsigned loadings = 0;
  };
  Loaded get(std::size_t chip) const;
  const std::string& name(std::size_t chip) const { return chips_[chip].loader.chip; }
  bool works(std::size_t chip) const;
  // Why it does not work.
  std::string fault(std::size_t chip) const;
  // Of every chip that does not.
  std::vector<std::string> faults() const;

  // After an error on a chip, with what was loaded then: has the chip failed? It is then left out
  // and tried again from time to time. hung: a call did not return, as `what` says.
  bool examine(std::size_t chip, const Loaded& loaded, bool hung, const std::string& what);

 private:
  struct Chip {
    ChipLoader loader;
    Loaded loaded;
    std::string fault;  // "" while it works
  };
  Loaded load_on(const ChipLoader& loader, bool again) const;
  void revive();
  bool stopping() const;

  Load load_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Chip> chips_;
  bool stop_ = false;
  bool reviving_ = false;
  std::thread reviver_;
};

}  // namespace blip::backend::sophon
