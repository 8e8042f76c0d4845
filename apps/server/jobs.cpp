#include "server/jobs.h"

namespace blip::server {

Failure Failure::current() {
  try {
    throw;
  } catch (const Problem& problem) {
    return {.kind = Kind::kProblem, .problem = &problem.kind(), .message = problem.what()};
  } catch (const Error& error) {
    return {.kind = Kind::kError, .code = error.code(), .message = error.what()};
  } catch (const std::bad_alloc&) {
    return {.kind = Kind::kNoMemory, .message = "not enough memory"};
  } catch (const std::exception& error) {
    return {.message = error.what()};
  }
}

void Failure::raise() const {
  switch (kind) {
    case Kind::kProblem:
      throw Problem(*problem, message);
    case Kind::kError:
      throw Error(code, message);
    case Kind::kNoMemory:
      throw std::bad_alloc();
    case Kind::kOther:
      break;
  }
  throw std::runtime_error(message);
}

const ProblemKind& Failure::kind_of_problem() const {
  switch (kind) {
    case Kind::kProblem:
      return *problem;
    case Kind::kError:
      return kind_of(code);
    case Kind::kNoMemory:
      return kOutOfMemory;
    case Kind::kOther:
      break;
  }
  return kInternal;
}

std::string Failure::detail() const {
  return kind == Kind::kOther ? kUnexpected : kind == Kind::kNoMemory ? kNoMemoryNow : message;
}

bool Failure::ends_request() const {
  return kind == Kind::kProblem ? problem == &kDeadline
                                : kind == Kind::kError && code == ErrorCode::kCancelled;
}

void Job::fail(Failure failure) {
  result.failure = std::move(failure);
  promise.set_value(std::move(result));
}

std::size_t new_pictures(const Job& job) {
  std::size_t count = 0;
  for_each_picture(job, [&](const Picture& picture) { count += picture.encoded ? 0 : 1; });
  return count;
}

JobResult take(std::future<JobResult>& future) {
  JobResult result = future.get();
  if (result.failure) result.failure->raise();
  return result;
}

const char* to_string(Task task) {
  switch (task) {
    case Task::kCaption:
      return "caption";
    case Task::kMatch:
      return "match";
    case Task::kAsk:
      return "ask";
    case Task::kRank:
      return "rank";
    case Task::kEmbedImage:
      return "embed_image";
    case Task::kEmbedTexts:
      return "embed_texts";
    case Task::kAttention:
      return "attention";
    case Task::kNlvr:
      return "nlvr";
  }
  return "unknown";
}

}  // namespace blip::server
