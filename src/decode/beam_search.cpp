// Beam search as transformers' generate does it with early_stopping=False, kept per sequence
// instead of in padded tensors.
//
// Each step takes the best 2 x beams continuations of a sequence (so that beams unfinished ones
// remain though every beam may end), files those of the first `beams` that end (the end token, or
// max_length) under finished, and goes on with the best `beams` that do not. A sequence is done
// when `beams` texts are finished and the best running one, divided by its present length, is no
// better than the worst of them. Rows of sequences that are done are dropped, which changes no
// other sequence.
//
// Equal scores: the earlier beam first, then the lower token. torch.topk promises no order for
// them.
#include <algorithm>
#include <cmath>

#include "decode/beams.h"

namespace blip::decode {
namespace {

// The search of one sequence.
class Search {
 public:
  Search(const Request& request, int row)
      : request_(request), beams_(static_cast<std::size_t>(request.options.beams)) {
    running_.push_back({{request.prompt.begin(), request.prompt.end()}, 0.0f, row});
  }

  bool done() const { return running_.empty(); }

  // Extends the running beams by one token, given the logits of the last call.
  void advance(const Decoder& decoder, std::span<const float> logits) {
    std::vector<NextScores> scores;
    for (const Beam& beam : running_) scores.emplace_back(decoder, logits, beam, request_);
    find_continuations(running_, scores, 2 * beams_, continuations_);
    const std::size_t length = running_.front().ids.size() + 1;
    const bool at_end = length >= static_cast<std::size_t>(request_.options.max_length);
    // Over generated tokens only: in double, then float, as torch divides a float tensor by a
    // Python number.
    const auto generated = static_cast<double>(length - request_.prompt.size());
    const auto divisor = static_cast<float>(
        std::pow(generated, static_cast<double>(request_.options.length_penalty)));

    std::vector<Beam> next;
    for (std::size_t i = 0; i < continuations_.size(); ++i) {
      const Continuation& continuation = continuations_[i];
      if (at_end || continuation.token == request_.tokens.eos) {
        if (i < beams_) finish(continuation, divisor);
      } else if (next.size() < beams_) {
        next.push_back(extend(continuation));
      }
    }
    running_ = std::move(next);
    const bool full = finished_.size() == beams_;
    if (running_.empty() || (full && !(running_.front().score / divisor > finished_.back().score)))
      running_.clear();
  }

  void append_rows(std::vector<Decoder::Next>& next) { decode::append_rows(running_, next); }

  std::vector<Hypothesis> result() {
    finished_.resize(
        std::min(finished_.size(), static_cast<std::size_t>(request_.options.num_return)));
    return std::move(finished_);
  }

 private:
  Beam extend(const Continuation& continuation) const {
    return extended(running_[static_cast<std::size_t>(continuation.beam)], continuation);
  }

  // Keeps the best `beams`, best first; a later one of equal score goes behind.
  void finish(const Continuation& continuation, float divisor) {
    const float score = continuation.score / divisor;
    const auto place = std::find_if(finished_.begin(), finished_.end(),
                                    [&](const Hypothesis& other) { return score > other.score; });
    if (place == finished_.end() && finished_.size() == beams_) return;
    finished_.insert(place, Hypothesis{extend(continuation).ids, score});
    if (finished_.size() > beams_) finished_.pop_back();
  }

  const Request& request_;
  std::size_t beams_;
  std::vector<Beam> running_;         // best first
  std::vector<Hypothesis> finished_;  // best first
  std::vector<Continuation> continuations_;
};

}  // namespace

std::vector<std::vector<Hypothesis>> beam_search(Decoder& decoder, const Request& request) {
  return run_searches<Search>(decoder, request);
}

}  // namespace blip::decode
