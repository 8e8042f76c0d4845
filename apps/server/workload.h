// How much a job is: in rows for its turn, in bytes for the memory it takes, in seconds for who
// waits behind it.
#pragma once

#include <array>
#include <mutex>
#include <optional>

#include "server/jobs.h"

namespace blip::server {

// What one request may ask for. A request's work is the sum over its pictures, questions and texts
// of the rows that its texts put through the model's text layers: beams (or samples) times
// max_length for a generated text, a text's own tokens for one that is read.
struct WorkLimits {
  int max_beams = 16, max_returned = 16, max_tokens = 512;
  std::uint64_t max_work = 32'768;
};

// The rows that generating one text may take.
std::uint64_t generated_rows(const GenerateOptions& options);

// Those of a job. Tokenizes its texts.
std::uint64_t rows_of(const Engine& engine, const Job& job);

// A job of more rows than this is computed in an executor of its own, beside the others': eight
// default captions' worth.
inline constexpr std::uint64_t kLongRows = 512;
// A new picture counts as so many rows: in BLIP-base the vision tower costs about what 200 rows of
// decoding do.
inline constexpr std::uint64_t kPictureRows = 200;

// The memory that a pass takes for one job beside what is counted elsewhere: caches of generated
// texts, activations, and what a new picture becomes.
std::size_t work_bytes(const ModelInfo& info, const Job& job);
// What an answer with the attention of such a job's words takes, in JSON and as text.
std::size_t attention_bytes(const ModelInfo& info, const Job& job);
// What one encoded picture of this model holds at most: the vision tower's states, and the keys and
// values of every layer that attends to it for the task, or for any.
std::size_t encoded_bytes(const ModelInfo& info, std::optional<Task> task = std::nullopt);

// Averages of what this model took so far. Thread-safe.
class Estimates {
 public:
  void encoded(std::size_t pictures, double seconds);
  void computed(Task task, std::uint64_t rows, double seconds);
  // 0 while nothing has been measured.
  double seconds(const Job& job) const;

 private:
  struct Average {
    double value = 0;
    bool known = false;
    void add(double sample);
  };
  mutable std::mutex mutex_;
  Average per_picture_;
  std::array<Average, kTasks> per_row_{};
};

}  // namespace blip::server
