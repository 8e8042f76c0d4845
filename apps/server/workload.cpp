#include "server/workload.h"

#include <algorithm>

namespace blip::server {
namespace {

constexpr double kWeightOfNew = 0.2;  // in the running average: the last ten or so decide
constexpr int kCachesPerRow = 2;  // a step copies the caches of beams that continue the same one
constexpr std::uint64_t kRowsPerPass = 64;  // activations of at least so many rows
constexpr int kAroundText = 2;              // tokens that the model puts around a text
constexpr std::uint64_t kAttentionRows =
    32;  // one more pass over a short text, without its shortcuts

std::size_t size(int value) { return static_cast<std::size_t>(std::max(value, 0)); }

// Where the model truncates a text or question of the job.
int text_limit(const ModelInfo& info, const Job& job) {
  const int asked = job.task == Task::kMatch        ? job.match.max_text_length
                    : job.task == Task::kEmbedTexts ? job.embed.max_text_length
                    : job.task == Task::kNlvr       ? job.nlvr.max_text_length
                                                    : job.ask.max_text_length;
  return asked > 0 ? asked : info.text_length;
}

// The answer decoder attends to the question, the others to the picture.
bool looks_at_picture(const std::string& part, std::optional<Task> task) {
  if (part == "text_encoder") return !task || *task == Task::kMatch;
  if (part == "nlvr_encoder") return !task || *task == Task::kNlvr;
  if (part == "caption_decoder")
    return !task || *task == Task::kCaption || *task == Task::kAttention;
  if (part == "question_encoder")
    return !task || *task == Task::kAsk || *task == Task::kRank || *task == Task::kAttention;
  return false;
}

}  // namespace

std::uint64_t generated_rows(const GenerateOptions& options) {
  return static_cast<std::uint64_t>(options.sample ? options.num_return : options.beams) *
         static_cast<std::uint64_t>(options.max_length);
}

std::uint64_t rows_of(const Engine& engine, const Job& job) {
  const ModelInfo& info = engine.info();
  const auto read = [&](const std::string& text, int limit) {
    const std::uint64_t tokens = engine.count_tokens(text) + kAroundText;
    return limit > 0 ? std::min<std::uint64_t>(tokens, size(limit)) : tokens;  // 0: not told
  };
  std::uint64_t rows = job.question.empty() ? 0 : read(job.question, text_limit(info, job));
  // Answers that are given are read whole, as is a text whose attention is asked for.
  const bool whole = job.task == Task::kRank || job.task == Task::kAttention;
  for (const std::string& text : job.texts)
    rows += read(text, whole ? info.max_length : text_limit(info, job));
  if (job.task == Task::kCaption) rows += generated_rows(job.caption.generate);
  if (job.task == Task::kAsk) rows += generated_rows(job.ask.generate);
  return rows + (job.attention ? kAttentionRows : 0);
}

std::size_t encoded_bytes(const ModelInfo& info, std::optional<Task> task) {
  if (info.patch_size <= 0) return 0;
  const std::size_t side = size(info.image_size / info.patch_size), tokens = side * side + 1;
  std::size_t floats = 0;
  for (const PartInfo& part : info.parts) {
    if (part.name == "vision") floats += tokens * size(part.width);
    if (part.name != "vision" && looks_at_picture(part.name, task))
      floats += 2 * tokens * size(part.width) * size(part.layers);
  }
  return floats * sizeof(float);
}

std::size_t work_bytes(const ModelInfo& info, const Job& job) {
  const bool generates = job.task == Task::kCaption || job.task == Task::kAsk;
  const std::string decoder = job.task == Task::kCaption ? "caption_decoder" : "answer_decoder";
  const GenerateOptions& options =
      job.task == Task::kCaption ? job.caption.generate : job.ask.generate;
  std::size_t bytes = 0, floats_a_row = 0;
  for (const PartInfo& part : info.parts) {
    floats_a_row = std::max(floats_a_row, 8 * size(part.width) + 2 * size(part.mlp));
    if (generates && part.name == decoder)
      bytes += kCachesPerRow * static_cast<std::size_t>(generated_rows(options)) * 2 *
               size(part.width) * size(part.layers) * sizeof(float);
  }
  const std::size_t rows_at_a_time = generates
                                         ? size(options.sample ? options.num_return : options.beams)
                                         : static_cast<std::size_t>(job.rows);
  bytes += std::max<std::size_t>(rows_at_a_time, kRowsPerPass) * floats_a_row * sizeof(float);
  bytes += generates ? rows_at_a_time * size(info.vocab_size) * sizeof(float) : 0;
  const std::size_t pixels = 3 * size(info.image_size) * size(info.image_size) * sizeof(float);
  return bytes + new_pictures(job) * (encoded_bytes(info, job.task) + pixels);
}

std::size_t attention_bytes(const ModelInfo& info, const Job& job) {
  // A JSON value in a list that grows, and its text on its way through the buffers.
  constexpr std::size_t kBytesPerWeight = 64;
  const std::size_t side = info.patch_size > 0 ? size(info.image_size / info.patch_size) : 0;
  const std::size_t words = size(job.task == Task::kCaption ? job.caption.generate.max_length
                                                            : job.ask.generate.max_length);
  const std::size_t question = job.question.empty() ? 0 : size(text_limit(info, job));
  return side * side * (words + question) * kBytesPerWeight;
}

void Estimates::Average::add(double sample) {
  value = known ? value + kWeightOfNew * (sample - value) : sample;
  known = true;
}

void Estimates::encoded(std::size_t pictures, double seconds) {
  const std::lock_guard lock(mutex_);
  if (pictures > 0) per_picture_.add(seconds / static_cast<double>(pictures));
}

void Estimates::computed(Task task, std::uint64_t rows, double seconds) {
  const std::lock_guard lock(mutex_);
  if (rows > 0) per_row_[static_cast<std::size_t>(task)].add(seconds / static_cast<double>(rows));
}

double Estimates::seconds(const Job& job) const {
  const std::lock_guard lock(mutex_);
  const Average& own = per_row_[static_cast<std::size_t>(job.task)];
  return static_cast<double>(new_pictures(job)) * per_picture_.value +
         own.value * static_cast<double>(job.rows);
}

}  // namespace blip::server
