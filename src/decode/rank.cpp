// Ranking a list of answers, as salesforce/BLIP's BLIP_VQA.rank_answer does.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "decode/generate.h"
#include "decode/logits.h"
#include "decode/search.h"

namespace blip::decode {
namespace {

void check(const Decoder& decoder, std::span<const std::vector<std::int32_t>> candidates, int keep,
           float label_smoothing) {
  const auto fail = [](const std::string& message) {
    throw Error(ErrorCode::kUsage, "rank: " + message);
  };
  if (candidates.empty()) fail("the list of answers is empty");
  if (keep < 1)
    fail("the number of answers to keep is " + std::to_string(keep) + ", but must be 1 or more");
  if (!(label_smoothing >= 0.0f && label_smoothing < 1.0f))
    fail("label smoothing must be at least 0 and below 1");
  if (decoder.sequences() != 1)
    fail("the decoder holds " + std::to_string(decoder.sequences()) + " sequences, expected 1");
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::vector<std::int32_t>& ids = candidates[i];
    const std::string name = "answer " + std::to_string(i);
    if (ids.size() < 2)
      fail(name + " has " + std::to_string(ids.size()) +
           " tokens, expected a begin and an end token at least");
    if (ids.front() != candidates.front().front())
      fail(name + " does not begin with the token the others begin with");
    // The last token is only predicted, never fed.
    if (ids.size() - 1 > static_cast<std::size_t>(std::max(decoder.max_positions(), 0))) {
      fail(name + " has " + std::to_string(ids.size()) + " tokens, more than fit the model's " +
           std::to_string(decoder.max_positions()) + " positions");
    }
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= decoder.vocab_size()) {
        fail(name + " holds token " + std::to_string(id) + ", outside the vocabulary of " +
             std::to_string(decoder.vocab_size()));
      }
    }
  }
}

// torch's cross entropy with label smoothing: (1 - eps) * -log p[target] + eps * mean over the
// vocabulary of -log p.
class RowLoss {
 public:
  RowLoss(const LogitRow& row, double label_smoothing)
      : row_(row), norm_(normalise(row)), smoothing_(label_smoothing) {
    const std::span<const float> whole = row.whole();
    mean_ = (static_cast<double>(norm_.max) + norm_.log_sum) -
            sum_of(whole) / static_cast<double>(whole.size());
  }
  double operator()(std::int32_t target) const {
    const double nll = -static_cast<double>(norm_.log_prob(row_.at(target)));
    return smoothing_ == 0 ? nll : (1 - smoothing_) * nll + smoothing_ * mean_;
  }

 private:
  LogitRow row_;
  Normaliser norm_;
  double smoothing_;
  double mean_;  // of -log p
};

// The `keep` candidates whose first token is most likely. Answers often share it, and then
// torch.topk's choice among equal probabilities is that of the standard algorithms it calls:
// calling the same ones makes the same choice.
std::vector<int> most_likely_first(std::span<const float> row,
                                   std::span<const std::vector<std::int32_t>> candidates,
                                   int keep) {
  using Entry = std::pair<float, std::int64_t>;
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    entries.emplace_back(row[static_cast<std::size_t>(candidates[i][1])],
                         static_cast<std::int64_t>(i));
  }
  const auto more_likely = [](const Entry& a, const Entry& b) { return a.first > b.first; };
  const auto kept =
      static_cast<std::ptrdiff_t>(std::min(static_cast<std::size_t>(keep), entries.size()));
  if (static_cast<std::size_t>(kept) * 64 <= entries.size()) {
    std::partial_sort(entries.begin(), entries.begin() + kept, entries.end(), more_likely);
  } else {
    std::nth_element(entries.begin(), entries.begin() + (kept - 1), entries.end(), more_likely);
    std::sort(entries.begin(), entries.begin() + (kept - 1), more_likely);
  }
  std::vector<int> result;
  for (std::ptrdiff_t i = 0; i < kept; ++i)
    result.push_back(static_cast<int>(entries[static_cast<std::size_t>(i)].second));
  return result;
}

// A kept answer while its tokens are fed.
struct Answer {
  int candidate;
  int row = 0;
  double loss = 0;
};

}  // namespace

std::vector<Ranked> rank(Decoder& decoder, std::span<const std::vector<std::int32_t>> candidates,
                         int keep, float label_smoothing, const Hooks& hooks) {
  check(decoder, candidates, keep, label_smoothing);
  poll(hooks);
  std::span<const float> logits = prefill(decoder, {candidates.front().data(), 1});
  std::vector<Answer> answers;
  for (const int candidate :
       most_likely_first(row_of(decoder, logits, 0).whole(), candidates, keep))
    answers.push_back({candidate});

  std::vector<RowLoss> losses{RowLoss(row_of(decoder, logits, 0), label_smoothing)};
  for (std::size_t position = 1;; ++position) {
    // Answers that begin alike share a row.
    std::map<std::pair<int, std::int32_t>, int> rows;
    std::vector<Decoder::Next> next;
    for (Answer& answer : answers) {
      const std::vector<std::int32_t>& ids = candidates[static_cast<std::size_t>(answer.candidate)];
      if (position >= ids.size()) continue;
      const std::int32_t token = ids[position];
      answer.loss += losses[static_cast<std::size_t>(answer.row)](token);
      if (position + 1 == ids.size()) continue;
      const auto [entry, is_new] =
          rows.try_emplace({answer.row, token}, static_cast<int>(next.size()));
      if (is_new) next.push_back({answer.row, token});
      answer.row = entry->second;
    }
    if (next.empty()) break;
    poll(hooks);
    logits = step(decoder, next);
    losses.clear();
    for (int r = 0; r < static_cast<int>(next.size()); ++r) {
      losses.emplace_back(row_of(decoder, logits, r), label_smoothing);
    }
  }

  std::vector<Ranked> ranked;
  for (const Answer& answer : answers)
    ranked.push_back({answer.candidate, static_cast<float>(answer.loss)});
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Ranked& a, const Ranked& b) { return a.loss < b.loss; });
  return ranked;
}

}  // namespace blip::decode
