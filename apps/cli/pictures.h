// The loop that caption, match, ask and embed share: pictures decoded ahead, encoded in batches,
// results in order, and a picture that fails does not stop the others.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/prefetch.h"
#include "cli/source.h"

namespace blip::cli {

// Mean times of a run, per picture and per result.
struct Timings {
  double preprocess_ms = 0, encode_ms = 0, predict_ms = 0;  // sums
  std::size_t pictures = 0, results = 0;

  void add_picture(const EncodedImage& image);
  void add_result(double milliseconds);
};

// Prints one picture's results or hands them to a keeper. Called after the whole batch went well,
// so that a batch that failed leaves no output behind. What it throws as Error(kImage | kIo) is the
// failure of that picture.
struct Emit {
  using Give = std::function<void(const Input& input)>;

  Emit() = default;
  Emit(Give function, std::string bytes = "")
      : give(std::move(function)), packed(std::move(bytes)) {}
  // Of a lambda.
  template <class Function>
  Emit(Function function) : give(std::move(function)) {}

  Give give;
  // What an Unpack makes the same of, where near duplicates are looked for.
  std::string packed;
};
// Runs the task on a batch, inputs[i] being of images[i]; returns one Emit per picture, called with
// the input that it is of. With PictureOptions::dedupe it is kept for other inputs of the same
// bytes, and must be small; for inputs that look the same the packed form alone.
using Task = std::function<std::vector<Emit>(std::span<const EncodedImage> images,
                                             std::span<const Decoded* const> inputs)>;

using Unpack = std::function<Emit(const std::string& packed)>;

// Who remembers what was done: a job. Without one, each picture is done, and failures are printed.
class Keeper {
 public:
  virtual ~Keeper() = default;
  // The next input of the source that is to be done. Called on another thread than the rest.
  virtual std::optional<Input> next(Source& source, const Stop& stop) = 0;
  // Whether an input of the source is one of those that are counted; on a thread of its own.
  virtual bool counts(const Input& input) const = 0;
  virtual void failed(const Input& input, const std::string& why) = 0;
  virtual void end_batch() = 0;
  // Inputs that next() passed over, as they are done.
  virtual std::size_t passed() const = 0;
};

// Errors that concern one picture are reported and counted on the console; those of the model, the
// device or an option are thrown. The next pictures are read and, unless PictureOptions::prepare is
// off, resized while the model works on the ones before.
void run_pictures(const Engine& engine, Session& session, const PictureOptions& options,
                  Console& console, Timings& timings, const Task& task, Keeper* keeper = nullptr,
                  const Unpack& unpack = {});

// "3 pictures (1 failed) in 1.20 s; mean preprocess 2.1 ms, encode 33.0 ms, decode 52.0 ms" as a
// note.
void note_timings(Console& console, const Timings& timings, double seconds,
                  const std::string& predict_name);

// The same by the labels of the vendor's sample programs, as notes. count: of what the label says;
// means: of what the sample takes the mean of.
enum class SophonDemoProgram { kCaption, kMatch, kAsk };
void note_sophon_demo_times(Console& console, SophonDemoProgram program, std::size_t count,
                            double mean_preprocess_ms, double mean_predict_ms);

// 0, or 1 when an input failed.
int exit_code(const Console& console);

// Milliseconds since it was made.
class Stopwatch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace blip::cli
