// What the endpoints share: from fields to jobs, a request at work, and from results to JSON.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blip/limits.h"
#include "server/fields.h"
#include "server/metrics.h"
#include "server/models.h"

namespace blip::server {

// The shortest deadline that a request may name, unless the server's own is shorter.
inline constexpr double kShortestTimeoutMs = 500;

struct ServiceLimits {
  InputLimits input;
  ImageLimits image;
  WorkLimits work;
  double timeout_ms = 60'000;  // the longest deadline, and the one of a request that names none
};

// What requests are answered with.
struct Service {
  Models& models;
  Metrics& metrics;
  MemoryBudget& memory;
  ServiceLimits limits;
  bool keys = false;  // clients are told apart by their API keys, else by their addresses
  std::atomic<int> preparing{0};  // requests whose jobs are not in a queue yet
};

// Waits for memory until the deadline. Throws Problem(out_of_memory), or Error(kCancelled) when the
// client is gone.
MemoryBudget::Share take_memory(MemoryBudget& memory, Exchange& exchange, MemoryKind kind,
                                std::size_t bytes, Clock::time_point deadline);
// What reading the body takes, the pictures in it included, to be held until the request is
// answered.
MemoryBudget::Share take_memory_to_read(Service& service, Exchange& exchange);

// A request at work: its deadline, its jobs and the client to watch.
class Work {
 public:
  // The service counts it as preparing until its jobs are in the queue.
  Work(Service& service, Exchange& exchange);
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  void set_timeout(double ms);  // from the request's arrival
  const std::shared_ptr<RequestState>& request_state() const { return request_state_; }
  double ms() const;

  // Takes memory until the request and its jobs are done, in one piece, before anything is decoded.
  // Throws Problem(invalid_request) where it has never so much, else as take_memory.
  void hold(std::size_t bytes, const std::string& what);
  const std::shared_ptr<MemoryBudget::Share>& held() const { return held_; }
  MemoryBudget::Share take_for_decoding(std::size_t bytes);  // as take_memory
  // Is anybody waiting still? Throws as get().
  void check();

  std::vector<std::future<JobResult>> submit(Model& model, std::vector<Job> jobs);
  // Waits for the result. Throws what the job threw, Problem(deadline_exceeded), or
  // Error(kCancelled) when the client is gone.
  JobResult get(std::future<JobResult>& future);
  // One result for each job, in order. Those that failed already are not submitted. Failures of
  // some are in their results; where all failed, or the request is over, the first is thrown.
  std::vector<JobResult> run(Model& model, std::vector<Job> jobs);

 private:
  void prepared();
  void wait(std::future<JobResult>& future);

  Service& service_;
  Exchange& exchange_;
  bool prepared_ = false;
  std::shared_ptr<RequestState> request_state_;
  std::shared_ptr<MemoryBudget::Share> held_;
};

// What every task takes beside its own fields.
struct CommonFields {
  std::string model;
  std::optional<Color> background;  // what transparent pixels are laid over
};
// These and "timeout_ms", which is set. To be read last: a field that was not read is an error.
CommonFields read_common(Fields& fields, Work& work, const ServiceLimits& limits);
// The field "max_text_length"; 0 = not given. The model's own limit is checked by the session.
int read_text_length(Fields& fields);
// The field of that row, which is a whole number.
int read_whole(Fields& fields, const Option& row, int otherwise);
// The rows of blip/limits.h that generating takes. An option that would change nothing beside the
// others (a temperature without sample) is Problem(invalid_request), as one beyond the limits.
GenerateOptions read_generate(Fields& fields, GenerateOptions defaults, const GeneratedText& text,
                              const WorkLimits& limits);
void check_limits(const GenerateOptions& options, const std::string& count_name,
                  const WorkLimits& limits);
// rows: of the whole request.
void check_work(std::uint64_t rows, const WorkLimits& limits);

// A picture of a request, or why there is none: one that cannot be read does not fail the others.
struct Opened {
  Picture picture;
  std::optional<Failure> failure;
};
// Decodes what the model's cache does not hold, within the memory budget. Throws only when the
// request is over.
std::vector<Opened> open_pictures(const Fields& fields, const std::optional<Color>& background,
                                  Model& model, Service& service, Work& work);
// One file's; throws its failure. index: for messages.
Picture open_picture(const std::string& file, const std::optional<Color>& background, Model& model,
                     Service& service, Work& work, std::size_t index = 0);
// A picture file's pixels, and the memory they take.
struct Decoded {
  Image image;
  MemoryBudget::Share memory;
};
// beside: what is done with them takes. Throws Problem(invalid_image | out_of_memory).
Decoded decode(const std::string& file, const std::optional<Color>& background, std::size_t index,
               Service& service, Work& work, std::size_t beside);
// Of a picture at the model's size.
std::size_t resized_bytes(const ModelInfo& info);

// {"code", "detail"}.
Json error_json(const Failure& failure);
Json timings_json(const JobResult& result);
// {"<name>": text, "score", "token_ids"} and, with several texts, "<name>s".
Json generation_json(const Generation& generation, const std::string& name);
Json number_json(double value);  // the shortest decimal of a float; null where it is not finite
// What every result of a picture ends with.
void finish_result(Json& json, const JobResult& result);
// "model", "device", "total_ms" of the whole request.
void add_summary(Json& json, const Model& model, const Work& work);
// The answer, with the summary and the request's id.
void respond(Exchange& exchange, Json json, const Model& model, const Work& work);

}  // namespace blip::server
