#include "cli/pictures.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "cli/exit.h"
#include "cli/input_count.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/packed_results.h"
#include "cli/recent.h"

namespace blip::cli {
namespace {

// Whether the other pictures can still be done after it. A device that still works failed at one.
bool concerns_one_picture(const Error& error, const Engine& engine) {
  return error.code() == ErrorCode::kImage || error.code() == ErrorCode::kIo ||
         (error.code() == ErrorCode::kDevice && engine.works());
}

class PictureRun {
 public:
  PictureRun(const Engine& engine, Session& session, Console& console, Timings& timings,
             const Task& task, Keeper* keeper, const Unpack& unpack)
      : engine_(engine),
        session_(session),
        console_(console),
        timings_(timings),
        task_(task),
        keeper_(keeper),
        unpack_(unpack) {}

  // One pass through the vision tower.
  void encode(std::vector<Decoded> batch) {
    const std::size_t first = group_.size();
    for (Decoded& decoded : batch) group_.push_back({std::move(decoded), std::nullopt, ""});
    const std::span<Member> members = std::span(group_).subspan(first);
    // One picture must not take its batch down: each alone, so that only those at fault fail.
    if (!encode(members))
      for (Member& member : members) encode({&member, 1});
  }
  // The task on all that was encoded. The keeper gets as many results at a time as a batch has.
  void run_task(std::size_t batch) {
    std::vector<Member*> good;
    for (Member& member : group_)
      if (member.encoded) good.push_back(&member);
    if (!good.empty() && !run_task(good) && good.size() > 1) run_one_by_one(good);
    for (std::size_t i = 0; i < group_.size(); ++i) {
      end(group_[i]);
      if (keeper_ && ((i + 1) % batch == 0 || i + 1 == group_.size())) keeper_->end_batch();
    }
    group_.clear();
  }
  std::size_t waiting() const { return group_.size(); }
  // What is told of the duplicates in the end.
  std::vector<std::string> notes() const {
    const auto pictures = [](std::size_t count) {
      return std::to_string(count) + (count == 1 ? " picture" : " pictures");
    };
    std::vector<std::string> notes;
    if (duplicates_ > 0) notes.push_back(pictures(duplicates_) + " had the bytes of others");
    if (near_ > 0) notes.push_back(pictures(near_) + " looked like others");
    return notes;
  }

 private:
  // A picture of those that the task is run on at once.
  struct Member {
    Decoded decoded;
    std::optional<EncodedImage> encoded;
    std::string failure;
    Emit emit{};
  };

  void fail(const Input& input, const std::string& why) {
    if (keeper_) keeper_->failed(input, why);
    console_.failed(input.object(), input.name, why);
  }

  // What became of a picture, for those of the same bytes.
  struct Known {
    Emit emit;
    std::string failure;  // where there is no emit
    std::string name;
  };

  void give_out_again(const Decoded& decoded, const Known& known, const std::string& why) {
    ++duplicates_;
    give_out_as(decoded, known, why);
  }

  void give_out_as(const Decoded& decoded, const Known& known, const std::string& why) {
    if (!known.emit.give) return fail(decoded, why + known.name + ": " + known.failure);
    Input input = decoded;
    input.duplicate_of = known.name;
    give_out(input, known);
  }

  void give_out_near(const Decoded& decoded) {
    const PackedResult result = looks_.at(*decoded.looks_like);
    Known known{result.failure.empty() ? unpack_(result.packed) : Emit(), result.failure,
                result.name};
    ++near_;
    give_out_as(decoded, known, "it looks like ");
    if (decoded.content) known_.put(*decoded.content, std::move(known));
  }

  void give_out(const Input& input, const Known& known) {
    if (!known.emit.give) return fail(input, known.failure);
    try {
      known.emit.give(input);
    } catch (const Error& error) {
      if (!concerns_one_picture(error, engine_)) throw;
      fail(input, error.what());
    }
  }

  void end(const Member& member) {
    const Decoded& decoded = member.decoded;
    if (decoded.duplicate)
      return give_out_again(decoded, *known_.find(*decoded.content), "its bytes are those of ");
    if (decoded.looks_like) return give_out_near(decoded);
    Known known{member.emit, member.failure, decoded.name};
    give_out(decoded, known);
    if (decoded.look) looks_.add(known.name, known.failure, known.emit.packed);
    if (decoded.content) known_.put(*decoded.content, std::move(known));
  }

  // Whether it went well; what concerns the members, `failure` is then of each.
  template <class Work>
  bool try_with(std::span<Member* const> members, const Work& work) {
    std::string failure;
    try {
      work();
      return true;
    } catch (const Error& error) {
      stop_if_interrupted();
      if (!concerns_one_picture(error, engine_)) throw;
      failure = error.what();
    } catch (const std::bad_alloc&) {
      failure = "not enough memory; try a smaller --batch";
    }
    for (Member* member : members) member->failure = failure;
    return false;
  }

  // Rows of pairs one after the other that are of one picture share it.
  bool encode(std::span<Member> members) {
    const std::optional<EncodedImage> before = std::exchange(last_, std::nullopt);
    std::vector<Member*> good;
    std::vector<Image> images;
    std::vector<bool> shares;
    for (Member& member : members) {
      const Decoded& decoded = member.decoded;
      if (!decoded.image) {
        member.failure = decoded.error;
        continue;
      }
      good.push_back(&member);
      shares.push_back(decoded.same_picture && (before || !images.empty()));
      if (!shares.back()) images.push_back(*decoded.image);
    }
    if (good.empty()) return true;
    return try_with(good, [&] {
      const std::vector<EncodedImage> each = session_.encode(std::span<const Image>(images));
      for (const EncodedImage& image : each) timings_.add_picture(image);
      auto next = each.begin();
      const std::optional<EncodedImage>* shared = &before;
      for (std::size_t i = 0; i < good.size(); ++i) {
        good[i]->encoded = shares[i] ? *shared : *next++;
        good[i]->failure.clear();
        shared = &good[i]->encoded;
      }
      if (good.back()->decoded.row) last_ = *shared;
    });
  }

  // Each alone, and encoded anew: what failed may be the device that has them.
  void run_one_by_one(std::span<Member* const> members) {
    last_.reset();
    for (Member* member : members)
      if (encode({member, 1})) run_task({&member, 1});
  }

  bool run_task(std::span<Member* const> members) {
    return try_with(members, [&] {
      std::vector<EncodedImage> images;
      std::vector<const Decoded*> inputs;
      for (Member* member : members) {
        images.push_back(*member->encoded);
        inputs.push_back(&member->decoded);
      }
      const std::vector<Emit> emits = task_(images, inputs);
      for (std::size_t i = 0; i < members.size(); ++i) {
        members[i]->emit = emits[i];
        members[i]->failure.clear();
      }
    });
  }

  const Engine& engine_;
  Session& session_;
  Console& console_;
  Timings& timings_;
  const Task& task_;
  Keeper* keeper_;
  const Unpack& unpack_;
  std::vector<Member> group_;
  std::optional<EncodedImage> last_;  // of the row of pairs before
  // Those that the decoding thread took for duplicates are behind it by a group and a batch or two.
  static constexpr std::size_t kBehind = std::size_t{4} * kMaxBatch;
  Recent<Known> known_{kDistinct + kBehind};
  PackedResults looks_;
  std::size_t duplicates_ = 0, near_ = 0;
};

std::unique_ptr<Source> make_source(const PictureOptions& options) {
  return std::make_unique<Source>(
      options.images,
      SourceOptions{input_filter(options), options.nul_lists, options.decode.limits.max_bytes,
                    options.image_column, options.parquet_in_folders, options.pairs});
}

}  // namespace

void Timings::add_picture(const EncodedImage& image) {
  preprocess_ms += image.preprocess_ms();
  encode_ms += image.encode_ms();
  ++pictures;
}

void Timings::add_result(double milliseconds) {
  predict_ms += milliseconds;
  ++results;
}

// Texts of many pictures are written together, for which the model's weights are read once; but
// nobody waits longer than that for the next of them.
constexpr double kLongestWaitMs = 3000;

void run_pictures(const Engine& engine, Session& session, const PictureOptions& options,
                  Console& console, Timings& timings, const Task& task, Keeper* keeper,
                  const Unpack& unpack) {
  const auto batch_size = static_cast<std::size_t>(options.batch);
  const std::unique_ptr<Source> source = make_source(options);
  const bool counts = console.shows_progress() && source->can_be_repeated();
  const InputCount count(counts ? make_source(options) : nullptr,
                         [&](const Input& input) { return !keeper || keeper->counts(input); });
  Prefetch prefetch(
      [&](const Stop& stop) { return keeper ? keeper->next(*source, stop) : source->next(stop); },
      options.decode, 2 * batch_size,
      options.prepare ? [&engine](const Image& image) { return engine.prepare(image); }
                      : Prefetch::Prepare(),
      options.dedupe);
  PictureRun run(engine, session, console, timings, task, keeper, unpack);
  console.start_progress("pictures", std::nullopt);
  std::size_t done = 0;
  std::vector<Decoded> batch;
  Stopwatch waits;
  for (bool more = true; more;) {
    std::optional<Decoded> decoded = prefetch.next();
    stop_if_interrupted();
    more = decoded.has_value();
    const bool pause = more && decoded->pause, goes_on = more && !pause;
    if (goes_on) {
      if (batch.empty() && run.waiting() == 0) waits = Stopwatch();
      batch.push_back(std::move(*decoded));
      if (batch.size() < batch_size) continue;
    }
    if (!batch.empty()) run.encode(std::exchange(batch, {}));
    const bool fits = run.waiting() + batch_size <= static_cast<std::size_t>(options.together);
    // Nobody waits for a picture that is slow to come either.
    const bool waits_on = goes_on && fits && waits.ms() < kLongestWaitMs && prefetch.is_ready();
    if (run.waiting() == 0 || waits_on) continue;
    done += run.waiting();
    run.run_task(batch_size);
    console.progress(done, keeper ? keeper->passed() : 0, count.total());
  }
  console.end_progress();
  for (const std::string& note : run.notes()) console.note(note);
  if (const std::string text = describe(source->left_out()); !text.empty())
    console.note("left out: " + text);
}

void note_timings(Console& console, const Timings& timings, double seconds,
                  const std::string& predict_name) {
  const auto mean = [](double sum, std::size_t count) {
    return format_ms(sum / static_cast<double>(count));
  };
  std::string text =
      std::to_string(timings.pictures) + (timings.pictures == 1 ? " picture" : " pictures");
  if (console.failures() > 0) text += " (" + std::to_string(console.failures()) + " failed)";
  text += " in " + fixed(seconds, 2) + " s";
  if (timings.pictures > 0) {
    text += timings.pictures > 1 || timings.results > 1 ? "; mean preprocess " : "; preprocess ";
    text += mean(timings.preprocess_ms, timings.pictures) + ", encode " +
            mean(timings.encode_ms, timings.pictures);
  }
  if (timings.results > 0)
    text += ", " + predict_name + " " + mean(timings.predict_ms, timings.results);
  console.note(text);
}

void note_sophon_demo_times(Console& console, SophonDemoProgram program, std::size_t count,
                            double mean_preprocess_ms, double mean_predict_ms) {
  const std::string number = std::to_string(count);
  std::string before_preprocess = "---------------------------------- ",
              before_predict = "INFO - ------------------ Question num " + number + ", ";
  if (program == SophonDemoProgram::kCaption) {
    before_preprocess = "-------------------Image num " + number + ", ";
    before_predict = "------------------ Image num " + number + ", ";
  } else if (program == SophonDemoProgram::kMatch) {
    before_preprocess = before_predict = "------------------ Text num " + number + ", ";
  }
  const auto shown = [](double ms) { return std::isfinite(ms) ? fixed(ms, 2) : std::string("-"); };
  console.note(before_preprocess + "Preprocess average time ------------------------");
  console.note("preprocess(ms): " + shown(mean_preprocess_ms));
  console.note(before_predict + "Predict average time ----------------------");
  console.note("predict(ms)   : " + shown(mean_predict_ms));
}

int exit_code(const Console& console) {
  return console.failures() == 0 ? kExitOk : kExitSomeFailed;
}

}  // namespace blip::cli
