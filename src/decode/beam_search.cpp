// Beam search as transformers' generate does it with early_stopping=False, kept per sequence instead of in padded tensors.
//
// Each step takes the best 2 x beams continuations of a sequence (so that beams unfinished ones remain though every beam may
// end), files those of the first `beams` that end (the end token, or max_length) under finished, and goes on with the best
// `beams` that do not. A sequence is done when `beams` texts are finished and the best running one, divided by its present
// length, is no better than the worst of them. Rows of sequences that are done are dropped, which changes no other sequence.
//
// Equal scores: the earlier beam first, then the lower token. torch.topk promises no order for them.
#include <algorithm>
#include <cmath>

#include "decode/logits.h"
#include "decode/search.h"

namespace blip::decode {
namespace {

struct Beam {
  std::vector<std::int32_t> ids;
  float score;  // summed processed log-probability
  int row;      // of the last call, whose logits continue it
};

struct Continuation {
  float score;
  int beam;
  std::int32_t token;
};

bool better(const Continuation& a, const Continuation& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

// The search of one sequence.
class Search {
 public:
  Search(const Request& request, int row) : request_(request), beams_(static_cast<std::size_t>(request.options.beams)) {
    running_.push_back({{request.prompt.begin(), request.prompt.end()}, 0.0f, row});
  }

  bool done() const { return running_.empty(); }

  // Extends the running beams by one token, given the logits of the last call.
  void advance(const Decoder& decoder, std::span<const float> logits) {
    find_continuations(decoder, logits);
    const std::size_t length = running_.front().ids.size() + 1;
    const bool at_end = length >= static_cast<std::size_t>(request_.options.max_length);
    // Over generated tokens only: in double, then float, as torch divides a float tensor by a Python number.
    const auto generated = static_cast<double>(length - request_.prompt.size());
    const auto divisor = static_cast<float>(std::pow(generated, static_cast<double>(request_.options.length_penalty)));

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
    if (running_.empty() || (full && !(running_.front().score / divisor > finished_.back().score))) running_.clear();
  }

  // One row for each running beam.
  void append_rows(std::vector<Decoder::Next>& next) {
    for (Beam& beam : running_) {
      next.push_back({beam.row, beam.ids.back()});
      beam.row = static_cast<int>(next.size()) - 1;
    }
  }

  std::vector<Hypothesis> result() {
    finished_.resize(std::min(finished_.size(), static_cast<std::size_t>(request_.options.num_return)));
    return std::move(finished_);
  }

 private:
  // The best 2 x beams over all running beams.
  void find_continuations(const Decoder& decoder, std::span<const float> logits) {
    const int keep = 2 * static_cast<int>(beams_);
    continuations_.clear();
    for (int b = 0; b < static_cast<int>(running_.size()); ++b) {
      const Beam& beam = running_[static_cast<std::size_t>(b)];
      const LogitRow row = row_of(decoder, logits, beam.row);
      best_tokens(row, keep, normalise(row), Edits(beam.ids, request_.options, request_.tokens.eos), candidates_);
      for (const Candidate& candidate : candidates_) continuations_.push_back({candidate.score + beam.score, b, candidate.token});
    }
    const std::size_t kept = std::min(continuations_.size(), static_cast<std::size_t>(keep));
    std::partial_sort(continuations_.begin(), continuations_.begin() + static_cast<std::ptrdiff_t>(kept), continuations_.end(),
                      better);
    continuations_.resize(kept);
  }

  std::vector<std::int32_t> ids_of(const Continuation& continuation) const {
    const std::vector<std::int32_t>& stem = running_[static_cast<std::size_t>(continuation.beam)].ids;
    std::vector<std::int32_t> ids;
    ids.reserve(stem.size() + 1);
    ids.assign(stem.begin(), stem.end());
    ids.push_back(continuation.token);
    return ids;
  }

  Beam extend(const Continuation& continuation) const {
    return {ids_of(continuation), continuation.score, running_[static_cast<std::size_t>(continuation.beam)].row};
  }

  // Keeps the best `beams`, best first; a later one of equal score goes behind.
  void finish(const Continuation& continuation, float divisor) {
    const float score = continuation.score / divisor;
    const auto place =
        std::find_if(finished_.begin(), finished_.end(), [&](const Hypothesis& other) { return score > other.score; });
    if (place == finished_.end() && finished_.size() == beams_) return;
    finished_.insert(place, Hypothesis{ids_of(continuation), score});
    if (finished_.size() > beams_) finished_.pop_back();
  }

  const Request& request_;
  std::size_t beams_;
  std::vector<Beam> running_;         // best first
  std::vector<Hypothesis> finished_;  // best first
  std::vector<Continuation> continuations_;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::vector<std::vector<Hypothesis>> beam_search(Decoder& decoder, const Request& request) {
  std::vector<Search> searches;
  for (int s = 0; s < decoder.sequences(); ++s) searches.emplace_back(request, s);
  poll(request.hooks);
  std::span<const float> logits = prefill(decoder, request.prompt);
  std::vector<Decoder::Next> next;
  while (true) {
    next.clear();
    for (Search& search : searches) {
      if (search.done()) continue;
      search.advance(decoder, logits);
      search.append_rows(next);
    }
    if (next.empty()) break;
    poll(request.hooks);
    logits = step(decoder, next);
  }
  std::vector<std::vector<Hypothesis>> results;
  for (Search& search : searches) results.push_back(search.result());
  return results;
}

}  // namespace blip::decode
