// What a request asks of a model: jobs, and what becomes of them.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "server/http.h"
#include "server/image_cache.h"
#include "server/problem.h"

namespace blip::server {

// Shared by a request and its jobs: what is over is not computed any more.
struct RequestState {
  std::atomic<bool> cancelled{false};
  Clock::time_point deadline = Clock::time_point::max();
  std::string client;  // whose request it is: clients take turns
  bool expired() const { return Clock::now() >= deadline; }
  bool over() const { return cancelled || expired(); }
};

// A picture on its way: decoded and at the model's size, or found in the cache.
struct Picture {
  ContentHash hash;
  std::optional<Image> image;
  std::optional<EncodedImage> encoded;
  double resize_ms = 0;
  std::shared_ptr<MemoryBudget::Share> memory;  // of the decoded one
};

enum class Task { kCaption, kMatch, kAsk, kRank, kEmbedImage, kEmbedTexts, kAttention, kNlvr };
inline constexpr std::size_t kTasks = 8;
const char* to_string(Task task);

// What went wrong with a job. It crosses from the model's thread to the request's as a value and is
// thrown there: exception objects that two threads share are counted inside the C++ runtime, where
// the thread sanitizer cannot see it.
struct Failure {
  enum class Kind { kProblem, kError, kNoMemory, kOther } kind = Kind::kOther;
  const ProblemKind* problem = nullptr;
  ErrorCode code = ErrorCode::kUsage;
  std::string message;

  static Failure current();  // inside a catch block
  static Failure of(const ProblemKind& kind, std::string message) {
    return {Kind::kProblem, &kind, ErrorCode::kUsage, std::move(message)};
  }
  const ProblemKind& kind_of_problem() const;  // what a client is told
  std::string detail() const;                  // likewise
  bool is_of_device() const { return kind == Kind::kError && code == ErrorCode::kDevice; }
  bool ends_request() const;  // nobody waits any more: not of one picture or text alone
  [[noreturn]] void raise() const;
};

struct JobResult {
  std::optional<Failure> failure;           // then nothing else counts
  Generation generation;                    // caption, ask, rank
  std::vector<Match> matches;               // match: one per text
  std::vector<float> probabilities;         // nlvr: one per text
  std::vector<std::vector<float>> vectors;  // embed: one for a picture, or one per text
  std::optional<Attention> attention;       // where it was asked for
  std::vector<std::string> warnings;
  double queue_ms = 0, preprocess_ms = 0, encode_ms = 0, task_ms = 0;
  bool cached = false;  // the vision tower was skipped
  int batch = 1;        // jobs computed together with this one, itself included
};

struct Job {
  Task task = Task::kCaption;
  std::optional<Picture> picture;  // all but kEmbedTexts
  std::optional<Picture> second;   // nlvr: the right one
  CaptionOptions caption;          // on_token set: runs alone
  MatchOptions match;
  EmbedOptions embed;
  NlvrOptions nlvr;
  AskOptions ask;  // likewise
  std::string question;
  std::vector<std::string> texts;  // match, embed, nlvr; rank: the answers; attention: the text
  std::optional<AttentionOptions> attention;  // caption, ask, rank: of the best text too
  std::shared_ptr<RequestState> request_state;
  std::uint64_t rows = 0;  // its work (workload.h), new pictures apart

  double turn = 0;  // its place in the queue
  Clock::time_point queued;
  JobResult result;
  std::promise<JobResult> promise;

  void fail(Failure failure);
};

// Calls take(picture) for each that the job looks at.
template <class AnyJob, class Take>
void for_each_picture(AnyJob& job, const Take& take) {
  if (job.picture) take(*job.picture);
  if (job.second) take(*job.second);
}
// How many of them the vision tower has not seen.
std::size_t new_pictures(const Job& job);

// Waits for the result; throws its failure.
JobResult take(std::future<JobResult>& future);

}  // namespace blip::server
