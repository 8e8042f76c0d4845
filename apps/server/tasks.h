// From fields to jobs and from results to JSON: what the endpoints share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/fields.h"
#include "server/models.h"

namespace blip::server {

struct TaskLimits {
  InputLimits input;
  ImageLimits image;
  double timeout_ms = 60'000;  // the longest deadline, and the one of a request that names none
};

// A request at work: its deadline, its jobs and the client to watch.
class Work {
 public:
  // preparing counts it until its jobs are in the queue.
  Work(Exchange& exchange, std::atomic<int>& preparing);
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  void set_timeout(double ms);  // from the request's arrival
  const std::shared_ptr<Ticket>& ticket() const { return ticket_; }
  double ms() const;

  std::vector<std::future<JobResult>> submit(Model& model, std::vector<Job> jobs);
  // Waits for the result. Throws what the job threw, Problem(deadline_exceeded), or Error(kCancelled) when the client is gone.
  JobResult get(std::future<JobResult>& future);
  std::vector<JobResult> run(Model& model, std::vector<Job> jobs);

 private:
  void prepared();

  Exchange& exchange_;
  std::atomic<int>& preparing_;
  bool prepared_ = false;
  std::shared_ptr<Ticket> ticket_;
};

// The field "timeout_ms".
double read_timeout(Fields& fields, const TaskLimits& limits);
// The field "max_text_length"; 0 = not given. The model's own limit is checked by the session.
int read_text_length(Fields& fields);
// beams, min_length, ..., seed; count_name: "num_captions" or "num_answers".
GenerateOptions read_generate(Fields& fields, GenerateOptions defaults, const std::string& count_name);

// Decodes what the model's cache does not hold. Throws Problem(invalid_image) that says which one.
std::vector<Picture> open_pictures(const std::vector<std::string>& files, Model& model, const ImageLimits& limits, Metrics& metrics);

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
