// The loaded models, each with its queue and its cache of pictures.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "server/scheduler.h"

namespace blip::server {

struct Model {
  Model(std::string model_name, const Engine& loaded, const SchedulerOptions& options,
        std::size_t cache_entries, std::size_t cache_bytes, MemoryBudget& memory, Metrics& metrics,
        const std::atomic<int>& preparing)
      : name(std::move(model_name)),
        engine(loaded),
        cache(cache_entries, cache_bytes, memory),
        scheduler(engine, options, cache, memory, metrics, preparing) {}

  const std::string name;
  const Engine engine;
  ImageCache cache;
  Scheduler scheduler;
};

class Models {
 public:
  void add(std::unique_ptr<Model> model) { models_.push_back(std::move(model)); }
  const std::vector<std::unique_ptr<Model>>& all() const { return models_; }
  // The named model, or without a name the first that can do it, and where asked tell its
  // attention. Throws Problem(model_not_found | unsupported_task).
  Model& choose(const std::string& name, Task task, bool attention = false) const;
  // Which devices do not work now, and why; "" while all do.
  std::string faults() const;
  // As most servers with one model do: that one answers to any name.
  Model& choose_leniently(const std::string& name, Task task) const {
    return choose(models_.size() == 1 ? "" : name, task);
  }

 private:
  std::vector<std::unique_ptr<Model>> models_;
};

bool can(const ModelInfo& info, Task task);

}  // namespace blip::server
