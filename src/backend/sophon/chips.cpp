#include "backend/sophon/chips.h"

#include <atomic>
#include <cassert>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

// A picture's place on a chip, given back when it is gone.
class Place {
 public:
  explicit Place(std::shared_ptr<Load> load) : load_(std::move(load)), chip_(load_->take()) {}
  ~Place() { load_->release(chip_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  std::size_t chip() const { return chip_; }

 private:
  std::shared_ptr<Load> load_;
  std::size_t chip_;
};

class ChipImage final : public EncodedImage {
 public:
  ChipImage(std::unique_ptr<const Place> place, EncodedImagePtr image)
      : place_(std::move(place)), image_(std::move(image)) {}
  std::size_t chip() const { return place_->chip(); }
  const EncodedImagePtr& on_chip() const { return image_; }
  std::size_t bytes() const override { return image_->bytes(); }

 private:
  std::unique_ptr<const Place> place_;
  EncodedImagePtr image_;
};

const ChipImage& chip_image(const EncodedImage& image) {
  return static_cast<const ChipImage&>(image);
}

// The places in a batch that one chip works on.
using Shares = std::vector<std::vector<std::size_t>>;

// Work on several chips at a time, each chip's on a thread of its own. The first error stops the
// others and is thrown.
class Together {
 public:
  explicit Together(const decode::Hooks& hooks) : hooks_(hooks) {}

  // Called back from any of the threads, but from one at a time. share: what the sequences of this
  // chip are in the batch.
  decode::Hooks hooks_of(const std::vector<std::size_t>& share) {
    decode::Hooks hooks;
    hooks.cancel = [this] {
      if (stop_) return true;
      const std::lock_guard lock(mutex_);
      return hooks_.cancel && hooks_.cancel();
    };
    if (hooks_.on_token)
      hooks.on_token = [this, &share](int sequence, std::int32_t id) {
        const std::lock_guard lock(mutex_);
        hooks_.on_token(static_cast<int>(share[static_cast<std::size_t>(sequence)]), id);
      };
    return hooks;
  }

  template <class Work>  // (chip, share)
  void run(const Shares& shares, Work work) {
    std::vector<std::thread> threads;
    try {
      for (std::size_t chip = 0; chip < shares.size(); ++chip) {
        if (shares[chip].empty()) continue;
        threads.emplace_back([this, &work, &shares, chip] {
          try {
            work(chip, shares[chip]);
          } catch (...) {
            fail();
          }
        });
      }
    } catch (...) {  // no more threads
      fail();
    }
    for (std::thread& thread : threads) thread.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void fail() {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    stop_ = true;
  }

  const decode::Hooks& hooks_;
  std::mutex mutex_;
  std::atomic<bool> stop_ = false;
  std::exception_ptr failure_;
};

class SpreadRunner final : public Runner {
 public:
  SpreadRunner(const std::vector<std::shared_ptr<const Model>>& models, std::shared_ptr<Load> load)
      : load_(std::move(load)) {
    for (const auto& model : models) runners_.push_back(model->make_runner());
  }

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override {
    const auto images = static_cast<std::size_t>(count);
    const std::size_t values = images == 0 ? 0 : pixels.size() / images;
    std::vector<std::unique_ptr<const Place>> places;
    Shares shares(runners_.size());
    for (std::size_t i = 0; i < images; ++i) {
      places.push_back(std::make_unique<const Place>(load_));
      shares[places.back()->chip()].push_back(i);
    }
    std::vector<EncodedImagePtr> encoded(images);
    each_chip(
        shares, {},
        [&](Runner& runner, const std::vector<std::size_t>& share, const decode::Hooks& hooks) {
          for (const std::size_t i : share) {
            if (hooks.cancel && hooks.cancel()) return;
            auto image = runner.encode(pixels.subspan(i * values, values), 1);
            encoded[i] =
                std::make_shared<const ChipImage>(std::move(places[i]), std::move(image.front()));
          }
        });
    return encoded;
  }

  std::vector<std::vector<decode::Hypothesis>> caption(std::span<const EncodedImagePtr> images,
                                                       const TokenIds& prompt,
                                                       const decode::Options& options,
                                                       const decode::Hooks& hooks) override {
    Shares shares(runners_.size());
    for (std::size_t i = 0; i < images.size(); ++i)
      shares[chip_image(*images[i]).chip()].push_back(i);
    std::vector<std::vector<decode::Hypothesis>> captions(images.size());
    each_chip(
        shares, hooks,
        [&](Runner& runner, const std::vector<std::size_t>& share, const decode::Hooks& own_hooks) {
          std::vector<EncodedImagePtr> own;
          for (const std::size_t i : share) own.push_back(chip_image(*images[i]).on_chip());
          auto results = runner.caption(own, prompt, options, own_hooks);
          for (std::size_t i = 0; i < share.size(); ++i) captions[share[i]] = std::move(results[i]);
        });
    return captions;
  }

  std::vector<MatchScore> match(const EncodedImage& image, std::span<const TokenIds> texts,
                                const MatchOptions& options, const decode::Hooks& hooks) override {
    return runner_of(image).match(*chip_image(image).on_chip(), texts, options, hooks);
  }
  std::vector<std::vector<decode::Hypothesis>> ask(const EncodedImage& image,
                                                   std::span<const TokenIds> questions,
                                                   const decode::Options& options,
                                                   const decode::Hooks& hooks) override {
    return runner_of(image).ask(*chip_image(image).on_chip(), questions, options, hooks);
  }
  std::vector<decode::Ranked> rank(const EncodedImage& image, const TokenIds& question,
                                   std::span<const TokenIds> candidates, int keep,
                                   const decode::Hooks& hooks) override {
    return runner_of(image).rank(*chip_image(image).on_chip(), question, candidates, keep, hooks);
  }
  std::vector<float> embed_image(const EncodedImage& image) override {
    return runner_of(image).embed_image(*chip_image(image).on_chip());
  }
  std::vector<std::vector<float>> embed_texts(std::span<const TokenIds> texts) override {
    const Place place(load_);
    return runners_[place.chip()]->embed_texts(texts);
  }
  Tensor dump_vision(const EncodedImage& image) override {
    return runner_of(image).dump_vision(*chip_image(image).on_chip());
  }
  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    return runner_of(image).dump_text(*chip_image(image).on_chip(), text, question);
  }

 private:
  Runner& runner_of(const EncodedImage& image) const { return *runners_[chip_image(image).chip()]; }

  // Calls work(runner, share, hooks) for every chip that has something to do; without a thread
  // where that is one chip.
  template <class Work>
  void each_chip(const Shares& shares, const decode::Hooks& hooks, Work work) {
    std::size_t busy = 0, last = 0;
    for (std::size_t chip = 0; chip < shares.size(); ++chip)
      if (!shares[chip].empty()) {
        ++busy;
        last = chip;
      }
    // everything is its share: nothing to map
    if (busy == 1) return work(*runners_[last], shares[last], hooks);
    Together together(hooks);
    together.run(shares, [&](std::size_t chip, const std::vector<std::size_t>& share) {
      work(*runners_[chip], share, together.hooks_of(share));
    });
  }

  std::shared_ptr<Load> load_;
  std::vector<std::unique_ptr<Runner>> runners_;
};

class SpreadModel final : public Model {
 public:
  explicit SpreadModel(std::vector<std::shared_ptr<const Model>> models)
      : models_(std::move(models)), load_(std::make_shared<Load>(models_.size())) {}

  const Capabilities& capabilities() const override { return models_.front()->capabilities(); }
  std::unique_ptr<Runner> make_runner() const override {
    return std::make_unique<SpreadRunner>(models_, load_);
  }
  DType dtype() const override { return models_.front()->dtype(); }
  int threads() const override { return static_cast<int>(models_.size()); }
  std::vector<ExecutableUse> executables() const override {
    std::vector<ExecutableUse> list;
    for (const auto& model : models_)
      for (ExecutableUse& use : model->executables()) list.push_back(std::move(use));
    return list;
  }

 private:
  std::vector<std::shared_ptr<const Model>> models_;
  std::shared_ptr<Load> load_;
};

}  // namespace

std::size_t Load::take() {
  const std::lock_guard lock(mutex_);
  std::size_t best = next_;
  for (std::size_t i = 1; i < held_.size(); ++i) {
    const std::size_t chip = (next_ + i) % held_.size();
    if (held_[chip] < held_[best]) best = chip;
  }
  ++held_[best];
  next_ = (best + 1) % held_.size();
  return best;
}

void Load::release(std::size_t chip) {
  const std::lock_guard lock(mutex_);
  --held_[chip];
}

std::shared_ptr<const Model> spread(std::vector<std::shared_ptr<const Model>> models) {
  assert(!models.empty());
  if (models.size() == 1) return models.front();
  return std::make_shared<const SpreadModel>(std::move(models));
}

}  // namespace blip::backend::sophon
