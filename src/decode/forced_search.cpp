// Beam search for texts that have given words, as transformers' constrained beam search (of its
// versions 4; 5 has none) does it: ConstrainedBeamSearchScorer with early_stopping=False.
//
// Each step takes the best 2 x beams continuations as beam search does, then also every token that
// brings one of the beams on with its words. These candidates are sorted by how much they have of
// the words (their bank) and then by score; the best of each bank goes on, then the second of each,
// until there are `beams`. A text ends with the end token if it has all the words, and at
// max_length. A sequence is done when `beams` texts have ended and the worst of them is no worse
// than the best continuation.
//
// There a text that has all the words goes on only by what is among the best continuations, and
// where none is left at max_length the texts come without the words. Here such texts are kept:
// what falls out of the beams goes on alone, greedily, and fills in for what lacks a word. So a
// text differs from transformers' only where that would lack one.
//
// Equal scores: the earlier candidate first. torch.sort promises no order for them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "decode/beams.h"
#include "decode/constraints.h"

namespace blip::decode {
namespace {

// A text that has ended.
struct Ended {
  std::vector<std::int32_t> ids;
  double score;
  bool has_words;
};

struct Extension {
  Continuation continuation;
  int bank;
};

// The search of one sequence.
class ForcedSearch {
 public:
  ForcedSearch(const Request& request, int row)
      : request_(request),
        constraints_(request.options.words.forced),
        beams_(static_cast<std::size_t>(request.options.beams)),
        texts_(static_cast<std::size_t>(request.options.num_return)) {
    running_.push_back({{request.prompt.begin(), request.prompt.end()}, 0.0f, row});
  }

  bool done() const { return running_.empty(); }

  void advance(const Decoder& decoder, std::span<const float> logits) {
    std::vector<NextScores> scores;
    for (const Beam& beam : running_) scores.emplace_back(decoder, logits, beam, request_);
    std::vector<Progress> progress;
    for (const Beam& beam : running_) progress.emplace_back(constraints_, beam.ids);
    find_continuations(running_, scores, 2 * beams_, continuations_);
    const float best = continuations_.front().score;
    const std::vector<bool> ended = end_texts(progress);
    const std::vector<Continuation> chosen = choose(scores, progress);

    advance_kept(decoder, logits);
    keep_dropped(decoder, logits, progress, chosen, ended);
    std::vector<Beam> next;
    for (const Continuation& one : chosen) next.push_back(extended(of(one.beam), one));
    running_ = std::move(next);

    if (ended_.size() >= beams_ && worst_ >= best / divisor(running_.front().ids.size())) {
      finish(ended_);
    } else if (running_.front().ids.size() >= max_length()) {
      finish_at_end();
    }
  }

  void append_rows(std::vector<Decoder::Next>& next) {
    decode::append_rows(running_, next);
    decode::append_rows(kept_, next);
  }

  std::vector<Hypothesis> result() {
    if (result_.empty()) {
      throw Error(ErrorCode::kUsage,
                  "force_words: no text of up to " + std::to_string(request_.options.max_length) +
                      " tokens was found that has them; allow longer texts, more beams, or forbid "
                      "less (forbid_words, no_repeat_ngram)");
    }
    return std::move(result_);
  }

 private:
  const Beam& of(int beam) const { return running_[static_cast<std::size_t>(beam)]; }
  std::size_t max_length() const { return static_cast<std::size_t>(request_.options.max_length); }
  // Of a score whose text has so many tokens.
  double divisor(std::size_t length) const {
    return std::pow(static_cast<double>(length - request_.prompt.size()),
                    static_cast<double>(request_.options.length_penalty));
  }

  // Files what the end token ends. Which beams it ended?
  std::vector<bool> end_texts(std::span<const Progress> progress) {
    std::vector<bool> ended(running_.size());
    for (std::size_t i = 0; i < std::min(continuations_.size(), beams_); ++i) {
      const Continuation& one = continuations_[i];
      const auto beam = static_cast<std::size_t>(one.beam);
      if (one.token != request_.tokens.eos || !progress[beam].complete()) continue;
      Beam text = extended(running_[beam], one);
      add(std::move(text.ids), text.score, true);
      ended[beam] = true;
    }
    return ended;
  }

  // transformers' heap: the best `beams`, in the order in which they came.
  void add(std::vector<std::int32_t> ids, float sum, bool has_words) {
    const double score = static_cast<double>(sum) / divisor(ids.size());
    if (has_words && std::isfinite(score)) with_words_.push_back({ids, score, true});
    if (ended_.size() >= beams_ && !(score > worst_)) return;
    ended_.push_back({std::move(ids), score, has_words});
    const auto lower = [](const Ended& a, const Ended& b) { return a.score < b.score; };
    if (ended_.size() > beams_) ended_.erase(std::min_element(ended_.begin(), ended_.end(), lower));
    worst_ = std::min_element(ended_.begin(), ended_.end(), lower)->score;
  }

  // The beams of the next step: continuations, and tokens of forced words.
  std::vector<Continuation> choose(std::span<const NextScores> scores,
                                   std::span<const Progress> progress) const {
    std::vector<Extension> candidates;
    for (const Continuation& one : continuations_) {
      if (one.token == request_.tokens.eos || candidates.size() == beams_) continue;
      std::vector<std::int32_t> text = of(one.beam).ids;
      text.push_back(one.token);
      candidates.push_back({one, Progress(constraints_, text).bank()});
    }
    const auto is_there = [&](int beam, std::int32_t token) {
      return std::any_of(candidates.begin(), candidates.end(), [&](const Extension& other) {
        return other.continuation.beam == beam && other.continuation.token == token;
      });
    };
    std::vector<std::pair<Continuation, Progress>> forced;
    for (int b = 0; b < static_cast<int>(running_.size()); ++b) {
      const auto beam = static_cast<std::size_t>(b);
      if (progress[beam].complete()) continue;
      for (const std::int32_t token : progress[beam].next_tokens()) {
        Progress further = progress[beam];
        further.add(token);
        const bool known =
            is_there(b, token) || std::any_of(forced.begin(), forced.end(), [&](const auto& other) {
              return other.first.beam == b && other.first.token == token;
            });
        if (!known)
          forced.emplace_back(Continuation{scores[beam].of(token) + running_[beam].score, b, token},
                              further);
      }
    }
    // Only now: copies share their place in a word.
    for (const auto& [one, further] : forced) candidates.push_back({one, further.bank()});
    return forced.empty() ? in_order(candidates) : by_bank(candidates);
  }

  static std::vector<Continuation> in_order(const std::vector<Extension>& candidates) {
    std::vector<Continuation> chosen;
    for (const Extension& one : candidates) chosen.push_back(one.continuation);
    return chosen;
  }

  // The best of each bank, then the second of each, and so on.
  std::vector<Continuation> by_bank(const std::vector<Extension>& candidates) const {
    // In float, as there: large banks swallow small differences of scores.
    std::vector<float> keys;
    for (const Extension& one : candidates)
      keys.push_back(static_cast<float>(one.bank * 100) + one.continuation.score);
    std::vector<std::size_t> order(candidates.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return keys[a] > keys[b]; });
    std::vector<std::pair<int, std::size_t>> places;  // within the bank, and which
    for (std::size_t i = 0; i < order.size(); ++i) {
      const bool same = i > 0 && candidates[order[i]].bank == candidates[order[i - 1]].bank;
      places.emplace_back(same ? places.back().first + 1 : 0, order[i]);
    }
    std::stable_sort(places.begin(), places.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Continuation> chosen;
    for (std::size_t i = 0; i < beams_; ++i)
      chosen.push_back(candidates[places[i].second].continuation);
    return chosen;
  }

  // Texts outside of the beams that have the words go on by their best token.
  void advance_kept(const Decoder& decoder, std::span<const float> logits) {
    std::vector<Beam> going_on;
    for (const Beam& beam : kept_) go_on(decoder, logits, beam, going_on);
    kept_ = std::move(going_on);
  }

  void go_on(const Decoder& decoder, std::span<const float> logits, const Beam& beam,
             std::vector<Beam>& going_on) {
    const NextScores scores(decoder, logits, beam, request_);
    std::vector<Candidate> best;
    best_tokens(scores.row, 1, scores.norm, scores.edits, best);
    Beam longer = extended(beam, {best.front().score + beam.score, 0, best.front().token});
    if (!std::isfinite(longer.score)) return;
    if (longer.ids.back() != request_.tokens.eos && longer.ids.size() < max_length())
      return going_on.push_back(std::move(longer));
    const double score = static_cast<double>(longer.score) / divisor(longer.ids.size());
    with_words_.push_back({std::move(longer.ids), score, true});
  }

  // Beams that have the words and neither ended nor go on.
  void keep_dropped(const Decoder& decoder, std::span<const float> logits,
                    std::span<const Progress> progress, std::span<const Continuation> chosen,
                    const std::vector<bool>& ended) {
    for (std::size_t b = 0; b < running_.size(); ++b) {
      const bool goes_on = std::any_of(chosen.begin(), chosen.end(), [&](const Continuation& one) {
        return one.beam == static_cast<int>(b);
      });
      const bool enough = with_words_.size() + kept_.size() >= texts_;
      if (!progress[b].complete() || ended[b] || goes_on || enough) continue;
      go_on(decoder, logits, running_[b], kept_);
    }
  }

  // The texts that max_length ends.
  void finish_at_end() {
    std::vector<bool> has_words;
    for (const Beam& beam : running_)
      has_words.push_back(Progress(constraints_, beam.ids).complete());
    const auto add_those = [&](bool having) {
      for (std::size_t b = 0; b < running_.size(); ++b)
        if (has_words[b] == having) add(running_[b].ids, running_[b].score, having);
    };
    add_those(true);
    const auto count = std::count(has_words.begin(), has_words.end(), true);
    if (static_cast<std::size_t>(count) < texts_) add_those(false);
    finish(ended_);
  }

  // The best, a later one of equal score first, as there.
  void finish(const std::vector<Ended>& texts) {
    const std::vector<Ended> best = best_of(texts);
    const bool sound = std::all_of(best.begin(), best.end(), [](const Ended& one) {
      return one.has_words && std::isfinite(one.score);
    });
    for (const Ended& one : sound ? best : best_of(with_words_))
      result_.push_back({one.ids, static_cast<float>(one.score)});
    running_.clear();
    kept_.clear();
  }

  std::vector<Ended> best_of(std::vector<Ended> texts) const {
    std::reverse(texts.begin(), texts.end());
    std::stable_sort(texts.begin(), texts.end(),
                     [](const Ended& a, const Ended& b) { return a.score > b.score; });
    if (texts.size() > texts_) texts.resize(texts_);
    return texts;
  }

  const Request& request_;
  Constraints constraints_;
  std::size_t beams_, texts_;  // num_return
  std::vector<Beam> running_;
  std::vector<Beam> kept_;  // have the words and fell out of the beams
  std::vector<Continuation> continuations_;
  std::vector<Ended> ended_;       // as transformers has them, with words or without
  std::vector<Ended> with_words_;  // every text that ended with the words
  double worst_ = std::numeric_limits<double>::infinity();
  std::vector<Hypothesis> result_;
};

}  // namespace

std::vector<std::vector<Hypothesis>> forced_search(Decoder& decoder, const Request& request) {
  return run_searches<ForcedSearch>(decoder, request);
}

}  // namespace blip::decode
