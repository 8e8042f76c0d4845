#include "backend/sophon/chips.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <deque>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "backend/sophon/fleet.h"
#include "backend/sophon/guard.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

// The chip that a picture is on, counted in that chip's load, given back when it is gone.
class ChipReservation {
 public:
  // Throws Error(kDevice) where no chip works.
  explicit ChipReservation(std::shared_ptr<Fleet> fleet)
      : fleet_(std::move(fleet)), chip_(take(*fleet_)) {}
  ~ChipReservation() { fleet_->load().release(chip_); }
  ChipReservation(const ChipReservation&) = delete;
  ChipReservation& operator=(const ChipReservation&) = delete;
  std::size_t chip() const { return chip_; }

 private:
  static std::size_t take(Fleet& fleet) {
    if (const auto chip = fleet.load().take()) return *chip;
    std::string why;
    for (const std::string& fault : fleet.faults()) why += (why.empty() ? "" : "; ") + fault;
    throw Error(ErrorCode::kDevice, "no chip of this model works: " + why +
                                        "; the model is loaded again when one comes back");
  }

  std::shared_ptr<Fleet> fleet_;
  std::size_t chip_;
};

// The places in a batch that one session works on.
using Shares = std::vector<std::vector<std::size_t>>;

// Work of several sessions at a time, each one's on a thread of its own. The first error stops the
// others and is thrown.
class SessionThreads {
 public:
  explicit SessionThreads(const decode::Hooks& hooks) : hooks_(hooks) {}

  // Called back from any of the threads, but from one at a time. share: what the sequences of this
  // session are in the batch.
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

  template <class Work>  // (session, share)
  void run(const Shares& shares, Work work) {
    std::vector<std::thread> threads;
    try {
      for (std::size_t session = 0; session < shares.size(); ++session) {
        if (shares[session].empty()) continue;
        threads.emplace_back([this, &work, &shares, session] {
          try {
            work(session, shares[session]);
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

class ChipImage final : public EncodedImage {
 public:
  ChipImage(std::unique_ptr<const ChipReservation> place, unsigned loadings, EncodedImagePtr image)
      : reservation_(std::move(place)), loadings_(loadings), image_(std::move(image)) {}
  std::size_t chip() const { return reservation_->chip(); }
  unsigned loadings() const { return loadings_; }  // of its chip when it was encoded
  const EncodedImagePtr& on_chip() const { return image_; }
  std::size_t bytes() const override { return image_->bytes(); }

 private:
  std::unique_ptr<const ChipReservation> reservation_;
  unsigned loadings_;
  EncodedImagePtr image_;
};

const ChipImage& chip_image(const EncodedImage& image) {
  return static_cast<const ChipImage&>(image);
}

// A caller's hooks for work that may be left behind: when it is, they are gone.
class LentHooks {
 public:
  static std::shared_ptr<LentHooks> lend(const decode::Hooks& hooks) {
    return std::shared_ptr<LentHooks>(new LentHooks(hooks));
  }
  static decode::Hooks of(const std::shared_ptr<LentHooks>& lent) {
    decode::Hooks hooks;
    hooks.cancel = [lent] {
      const std::lock_guard lock(lent->mutex_);
      return !lent->hooks_ || (lent->hooks_->cancel && lent->hooks_->cancel());
    };
    if (lent->tells_tokens_)
      hooks.on_token = [lent](int sequence, std::int32_t id) {
        const std::lock_guard lock(lent->mutex_);
        if (lent->hooks_) lent->hooks_->on_token(sequence, id);
      };
    return hooks;
  }
  void take_back() {
    const std::lock_guard lock(mutex_);
    hooks_ = nullptr;
  }

 private:
  explicit LentHooks(const decode::Hooks& hooks)
      : tells_tokens_(hooks.on_token != nullptr), hooks_(&hooks) {}
  const bool tells_tokens_;
  std::mutex mutex_;
  const decode::Hooks* hooks_;
};

// A session's work on one chip, on a thread that is left behind when the chip hangs. Arguments of
// work are therefore copied, and what it gives is fetched when it is done.
class ChipSession {
 public:
  ChipSession(std::shared_ptr<Fleet> fleet, std::size_t chip)
      : fleet_(std::move(fleet)), chip_(chip) {}

  unsigned loadings() const { return held_ ? held_->loaded.loadings : 0; }

  // work(runner). Owns what it uses.
  template <class Work>
  auto run(Work work) -> decltype(work(std::declval<Runner&>())) {
    using Result = decltype(work(std::declval<Runner&>()));
    prepare();
    auto result = std::make_shared<std::optional<Result>>();
    try {
      guard_->run([held = held_, result, work = std::move(work)] {
        if (!held->runner) held->runner = held->loaded.model->make_runner();
        result->emplace(work(*held->runner));
      });
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kDevice)
        fleet_->examine(chip_, held_->loaded, guard_->hung(), error.what());
      throw;
    }
    return std::move(**result);
  }

  // The same for a picture that was encoded on this chip.
  template <class Work>  // (runner, image)
  auto run(const ChipImage& image, Work work) {
    check_kept(image);
    return run([kept = image.on_chip(), work = std::move(work)](Runner& runner) {
      return work(runner, *kept);
    });
  }

  void check_kept(const ChipImage& image) {
    prepare();
    if (image.loadings() != loadings())
      throw Error(ErrorCode::kDevice, "the picture was on " + fleet_->name(chip_) +
                                          ", which has failed since; encode it again");
  }

 private:
  struct Held {
    Fleet::Loaded loaded;
    std::unique_ptr<Runner> runner;
  };

  // What the chip has loaded now. Throws Error(kDevice) for a chip that has failed.
  void prepare() {
    if (const std::string fault = fleet_->fault(chip_); !fault.empty())
      throw Error(ErrorCode::kDevice, fault);
    Fleet::Loaded now = fleet_->get(chip_);
    if (held_ && held_->loaded.loadings == now.loadings && !guard_->hung()) return;
    guard_ = std::make_unique<Guard>(now.model->device().name());
    held_ = std::make_shared<Held>(Held{std::move(now), nullptr});
  }

  std::shared_ptr<Fleet> fleet_;
  std::size_t chip_;
  std::shared_ptr<Held> held_;
  std::unique_ptr<Guard> guard_;
};

class SpreadRunner final : public Runner {
  // Calls work(lent hooks), which are taken back at its end however it ends.
  template <class Work>
  static auto with_hooks(const decode::Hooks& hooks, Work work) {
    const auto lent = LentHooks::lend(hooks);
    const std::unique_ptr<LentHooks, void (*)(LentHooks*)> end(
        lent.get(), [](LentHooks* given) { given->take_back(); });
    return work(lent);
  }

  template <class Work>  // (runner, image)
  auto with_image(const EncodedImage& image, Work work) {
    const ChipImage& placed = chip_image(image);
    auto result = first_session(placed.chip()).run(placed, std::move(work));
    approve_();
    return result;
  }

  template <class Work>  // (runner, image, texts, hooks)
  auto with_texts(const EncodedImage& image, std::span<const TokenIds> texts,
                  const decode::Hooks& hooks, Work work) {
    return with_hooks(hooks, [&](const auto& lent) {
      return with_image(image, [own = std::vector<TokenIds>(texts.begin(), texts.end()), lent,
                                work](Runner& runner, const EncodedImage& kept) {
        return work(runner, kept, own, LentHooks::of(lent));
      });
    });
  }

 public:
  SpreadRunner(const std::shared_ptr<Fleet>& fleet, Approve approve)
      : fleet_(fleet), approve_(std::move(approve)) {
    for (std::size_t chip = 0; chip < fleet->size(); ++chip) {
      const auto count = static_cast<std::size_t>(fleet->get(chip).model->threads());
      of_chip_.push_back({sessions_.size(), count});
      for (std::size_t i = 0; i < count; ++i) sessions_.emplace_back(fleet, chip);
    }
  }

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override {
    const auto images = static_cast<std::size_t>(count);
    const std::size_t values = images == 0 ? 0 : pixels.size() / images;
    std::vector<EncodedImagePtr> encoded(images);
    // Those of a chip that fails go to another; each time around there is one chip fewer.
    for (std::size_t tries = 1;; ++tries) {
      try {
        encode_missing(pixels, values, encoded);
        break;
      } catch (const Error& error) {
        const bool failed = error.code() == ErrorCode::kDevice && !fleet_->faults().empty();
        if (!failed || tries > fleet_->size()) throw;
      }
    }
    approve_();
    return encoded;
  }

  std::vector<std::vector<decode::Hypothesis>> caption(std::span<const EncodedImagePtr> images,
                                                       const TokenIds& prompt,
                                                       const decode::Options& options,
                                                       const decode::Hooks& hooks) override {
    Shares shares(sessions_.size());
    for (std::size_t i = 0; i < images.size(); ++i)
      smallest_share(shares, chip_image(*images[i]).chip()).push_back(i);
    std::vector<std::vector<decode::Hypothesis>> captions(images.size());
    each_session(shares, hooks,
                 [&](ChipSession& session, const std::vector<std::size_t>& share,
                     const decode::Hooks& own_hooks) {
                   std::vector<EncodedImagePtr> own;
                   for (const std::size_t i : share) {
                     session.check_kept(chip_image(*images[i]));
                     own.push_back(chip_image(*images[i]).on_chip());
                   }
                   auto results = with_hooks(own_hooks, [&](const auto& lent) {
                     return session.run([own, prompt, options, lent](Runner& runner) {
                       return runner.caption(own, prompt, options, LentHooks::of(lent));
                     });
                   });
                   for (std::size_t i = 0; i < share.size(); ++i)
                     captions[share[i]] = std::move(results[i]);
                 });
    approve_();
    return captions;
  }

  std::vector<MatchScore> match(const EncodedImage& image, std::span<const TokenIds> texts,
                                const MatchOptions& options, const decode::Hooks& hooks) override {
    return with_texts(
        image, texts, hooks,
        [options](Runner& runner, const EncodedImage& kept, const auto& own,
                  const decode::Hooks& lent) { return runner.match(kept, own, options, lent); });
  }
  std::vector<std::vector<decode::Hypothesis>> ask(const EncodedImage& image,
                                                   std::span<const TokenIds> questions,
                                                   const decode::Options& options,
                                                   const decode::Hooks& hooks) override {
    return with_texts(
        image, questions, hooks,
        [options](Runner& runner, const EncodedImage& kept, const auto& own,
                  const decode::Hooks& lent) { return runner.ask(kept, own, options, lent); });
  }
  std::vector<decode::Ranked> rank(const EncodedImage& image, const TokenIds& question,
                                   std::span<const TokenIds> candidates, int keep,
                                   const decode::Hooks& hooks) override {
    return with_texts(image, candidates, hooks,
                      [question, keep](Runner& runner, const EncodedImage& kept, const auto& own,
                                       const decode::Hooks& lent) {
                        return runner.rank(kept, question, own, keep, lent);
                      });
  }
  std::vector<float> embed_image(const EncodedImage& image) override {
    return with_image(
        image, [](Runner& runner, const EncodedImage& kept) { return runner.embed_image(kept); });
  }
  std::vector<std::vector<float>> embed_texts(std::span<const TokenIds> texts) override {
    const ChipReservation place(fleet_);
    auto vectors = first_session(place.chip())
                       .run([own = std::vector<TokenIds>(texts.begin(), texts.end())](
                                Runner& runner) { return runner.embed_texts(own); });
    approve_();
    return vectors;
  }
  Tensor dump_vision(const EncodedImage& image) override {
    return with_image(
        image, [](Runner& runner, const EncodedImage& kept) { return runner.dump_vision(kept); });
  }
  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    return with_image(image, [text, question](Runner& runner, const EncodedImage& kept) {
      return runner.dump_text(kept, text, question);
    });
  }

 private:
  void encode_missing(std::span<const float> pixels, std::size_t values,
                      std::vector<EncodedImagePtr>& encoded) {
    std::vector<std::unique_ptr<const ChipReservation>> places(encoded.size());
    Shares shares(sessions_.size());
    for (std::size_t i = 0; i < encoded.size(); ++i) {
      if (encoded[i]) continue;
      places[i] = std::make_unique<const ChipReservation>(fleet_);
      smallest_share(shares, places[i]->chip()).push_back(i);
    }
    each_session(shares, {},
                 [&](ChipSession& session, const std::vector<std::size_t>& share,
                     const decode::Hooks& hooks) {
                   for (const std::size_t i : share) {
                     if (hooks.cancel && hooks.cancel()) return;
                     const auto own = pixels.subspan(i * values, values);
                     auto image =
                         session.run([own = std::vector<float>(own.begin(), own.end())](
                                         Runner& runner) { return runner.encode(own, 1); });
                     encoded[i] = std::make_shared<const ChipImage>(
                         std::move(places[i]), session.loadings(), std::move(image.front()));
                   }
                 });
  }

  // Where in sessions_ those of a chip are.
  struct Range {
    std::size_t first, count;
  };

  ChipSession& first_session(std::size_t chip) { return sessions_[of_chip_[chip].first]; }

  // Of the sessions of a chip.
  std::vector<std::size_t>& smallest_share(Shares& shares, std::size_t chip) const {
    const auto [first, count] = of_chip_[chip];
    const std::span<std::vector<std::size_t>> own = std::span(shares).subspan(first, count);
    return *std::min_element(own.begin(), own.end(),
                             [](const auto& a, const auto& b) { return a.size() < b.size(); });
  }

  // Calls work(session, share, hooks) for every session that has something to do; without a thread
  // where that is one.
  template <class Work>
  void each_session(const Shares& shares, const decode::Hooks& hooks, Work work) {
    std::size_t busy = 0, last = 0;
    for (std::size_t i = 0; i < shares.size(); ++i)
      if (!shares[i].empty()) {
        ++busy;
        last = i;
      }
    if (busy == 0) return;
    // Of a caption's hooks everything is its share: nothing to map.
    if (busy == 1) return work(sessions_[last], shares[last], hooks);
    SessionThreads threads(hooks);
    threads.run(shares, [&](std::size_t session, const std::vector<std::size_t>& share) {
      work(sessions_[session], share, threads.hooks_of(share));
    });
  }

  std::shared_ptr<Fleet> fleet_;
  Approve approve_;
  std::deque<ChipSession> sessions_;
  std::vector<Range> of_chip_;
};

class SpreadModel final : public Model {
 public:
  SpreadModel(std::vector<ChipLoader> loaders, Approve approve)
      : fleet_(std::make_shared<Fleet>(std::move(loaders))), approve_(std::move(approve)) {
    const auto model = fleet_->get(0).model;
    capabilities_ = model->capabilities();
    dtype_ = model->dtype();
  }

  const Capabilities& capabilities() const override { return capabilities_; }
  std::unique_ptr<Runner> make_runner() const override {
    return std::make_unique<SpreadRunner>(fleet_, approve_);
  }
  DType dtype() const override { return dtype_; }
  int threads() const override {
    int sum = 0;
    for (std::size_t chip = 0; chip < fleet_->size(); ++chip)
      sum += fleet_->get(chip).model->threads();
    return sum;
  }
  std::vector<ExecutableUse> executables() const override {
    std::vector<ExecutableUse> list;
    for (std::size_t chip = 0; chip < fleet_->size(); ++chip)
      for (ExecutableUse& use : fleet_->get(chip).model->executables())
        list.push_back(std::move(use));
    return list;
  }
  std::vector<std::string> faults() const override { return fleet_->faults(); }
  bool works() const override { return fleet_->faults().size() < fleet_->size(); }

 private:
  std::shared_ptr<Fleet> fleet_;
  Approve approve_;
  Capabilities capabilities_;
  DType dtype_ = DType::kF32;
};

}  // namespace

int ChipModel::threads() const {
  int most = 1;
  for (const auto& network : networks()) most = std::max(most, network->cores());
  return std::max(1, device().cores() / most);
}

std::vector<ExecutableUse> ChipModel::executables() const {
  std::vector<ExecutableUse> list;
  for (const auto& network : networks()) list.push_back(network->use());
  return list;
}

std::optional<std::size_t> Load::take() {
  const std::lock_guard lock(mutex_);
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < chips_.size(); ++i) {
    const std::size_t chip = (next_ + i) % chips_.size();
    if (chips_[chip].works && (!best || chips_[chip].held < chips_[*best].held)) best = chip;
  }
  if (!best) return best;
  ++chips_[*best].held;
  next_ = (*best + 1) % chips_.size();
  return best;
}

void Load::release(std::size_t chip) {
  const std::lock_guard lock(mutex_);
  --chips_[chip].held;
}

void Load::set_works(std::size_t chip, bool works) {
  const std::lock_guard lock(mutex_);
  chips_[chip].works = works;
}

std::shared_ptr<const Model> spread(std::vector<ChipLoader> loaders, Approve approve) {
  assert(!loaders.empty());
  return std::make_shared<const SpreadModel>(std::move(loaders), std::move(approve));
}

}  // namespace blip::backend::sophon
