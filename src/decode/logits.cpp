#include "decode/logits.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "blip/error.h"

namespace blip::decode {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Independent accumulators, so that a compiler may use vectors without reordering float sums
// itself. 64 rather than one vector's worth: loops of up to 16 turns are unrolled before GCC's
// vectoriser sees them, and then stay scalar.
constexpr std::size_t kLanes = 64;

// Below this exp() is subnormal, and next to exp(0) = 1 it is nothing.
constexpr float kLowest = -87.3f;

// exp(x) for kLowest <= x <= 0 within about 1 ulp, free of branches and calls so that loops over it
// vectorise. NaN gives NaN.
inline float exp_nonpositive(float x) {
  // 1.5 * 2^23: adding it rounds to an integer, which lands in the low bits
  constexpr float kRound = 12582912.0f;
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  // ln 2 in two parts, the first with few enough bits that n times it is exact.
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;  // the minimax polynomial of Cephes' expf on [-ln2/2, ln2/2]
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float e = (p * (r * r) + r) + 1.0f;
  const std::uint32_t exponent =
      std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kRound) + 127u;
  return e * std::bit_cast<float>(exponent << 23);
}

float max_of(std::span<const float> row) {
  std::array<float, kLanes> lanes;
  lanes.fill(-kInfinity);
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j)
      lanes[j] = row[i + j] > lanes[j] ? row[i + j] : lanes[j];
  }
  for (; i < row.size(); ++i) lanes[0] = std::max(lanes[0], row[i]);
  return *std::max_element(lanes.begin(), lanes.end());
}

// A lane adds at most 8 terms in float before they go to a double.
double sum_exp(std::span<const float> part, float max) {
  std::array<float, kLanes> lanes{}, x;
  std::size_t i = 0;
  for (; i + kLanes <= part.size(); i += kLanes) {
    // Two loops: GCC would take the clamp inside the other for a branch, and not vectorise it.
    for (std::size_t j = 0; j < kLanes; ++j)
      x[j] = part[i + j] - max < kLowest ? kLowest : part[i + j] - max;
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += exp_nonpositive(x[j]);
  }
  for (; i < part.size(); ++i)
    lanes[0] += exp_nonpositive(part[i] - max < kLowest ? kLowest : part[i] - max);
  double total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

bool better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.token < b.token;
}

}  // namespace

PartialLogSumExp partial_log_sum_exp(std::span<const float> logits) {
  const float max = max_of(logits);
  if (std::isfinite(max)) return {max, sum_exp(logits, max)};
  const bool nothing =
      max < 0 && std::none_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); });
  return {max, nothing ? 0 : std::numeric_limits<double>::quiet_NaN()};
}

Normaliser normalise(const LogitRow& row) {
  std::vector<PartialLogSumExp> own;
  std::span<const PartialLogSumExp> partials = row.partials;
  if (row.device()) {
    own.push_back(row.device()->partial_log_sum_exp(row.row()));
    partials = own;
  } else if (partials.empty()) {
    for (std::size_t i = 0; i < row.parts(); ++i) own.push_back(partial_log_sum_exp(row.part(i)));
    partials = own;
  }
  float max = -kInfinity;
  for (const PartialLogSumExp& d : partials) max = std::max(max, d.max);
  double sum = 0;
  for (const PartialLogSumExp& d : partials)
    if (d.sum != 0) sum += d.sum * std::exp(static_cast<double>(d.max) - static_cast<double>(max));
  if (!std::isfinite(max) || !std::isfinite(sum)) {
    throw Error(ErrorCode::kModel,
                "text decoder: the logits are not finite (NaN or infinity); the checkpoint is "
                "damaged, or it overflows in the "
                "number type in use: try dtype f32");
  }
  return {max, static_cast<float>(std::log(sum))};
}

double sum_of(std::span<const float> row) {
  std::array<double, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += row[i + j];
  }
  for (; i < row.size(); ++i) lanes[0] += row[i];
  return std::accumulate(lanes.begin(), lanes.end(), 0.0);
}

namespace {

// The k-th largest of the parts' largest logits: k values are no smaller, so the k best are in
// parts that reach it.
float floor_of_best(std::span<const PartialLogSumExp> partials, std::size_t k) {
  if (k > partials.size()) return -kInfinity;
  std::vector<float> largest;
  for (const PartialLogSumExp& d : partials) largest.push_back(d.max);
  const auto kth = largest.begin() + static_cast<std::ptrdiff_t>(k) - 1;
  std::nth_element(largest.begin(), kth, largest.end(), std::greater<>());
  return *kth;
}

// Offers a part's values, from token `first` on, to the k best so far. A value enters only if it is
// above the least kept, so an equal one with a higher token never displaces it. That is rare (k
// ln(V/k) times in a row of random order): first ask a block of lanes whether there is any, then
// insert in order.
void offer(std::span<const float> part, std::int32_t first, std::size_t k,
           std::vector<Candidate>& out) {
  const auto offer_one = [&](std::size_t i) {
    if (out.size() == k && !(part[i] > out.back().score)) return;
    const Candidate candidate{part[i], first + static_cast<std::int32_t>(i)};
    if (out.size() == k) out.pop_back();
    out.insert(std::upper_bound(out.begin(), out.end(), candidate, better), candidate);
  };
  std::size_t i = 0;
  for (; i + kLanes <= part.size(); i += kLanes) {
    const float least = out.size() == k ? out.back().score : -kInfinity;
    int above = out.size() < k;
    for (std::size_t j = 0; j < kLanes; ++j) above |= part[i + j] > least;
    if (above == 0) continue;
    for (std::size_t j = 0; j < kLanes; ++j) offer_one(i + j);
  }
  for (; i < part.size(); ++i) offer_one(i);
}

}  // namespace

void top_candidates(const LogitRow& row, int k, std::vector<Candidate>& out) {
  out.clear();
  if (row.device()) return row.device()->best(row.row(), k, out);
  const std::size_t keep = std::min(static_cast<std::size_t>(std::max(k, 0)), row.values.size());
  if (keep == 0) return;
  const float least = floor_of_best(row.partials, keep);
  for (std::size_t i = 0; i < row.parts(); ++i) {
    if (!row.partials.empty() && row.partials[i].max < least) continue;
    offer(row.part(i), static_cast<std::int32_t>(i) * kPartialColumns, keep, out);
  }
}

namespace {

void sort_distinct(std::vector<std::int32_t>& tokens) {
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
}

bool ends_with(std::span<const std::int32_t> text, std::span<const std::int32_t> run) {
  return run.size() <= text.size() &&
         std::equal(run.begin(), run.end(), text.end() - static_cast<std::ptrdiff_t>(run.size()));
}

// What may not follow the text because it would end a forbidden run.
void ban_words(std::span<const std::int32_t> text, const Words& words,
               std::vector<std::int32_t>& banned) {
  for (const std::vector<std::int32_t>& run : words.forbidden) {
    if (ends_with(text, std::span(run).first(run.size() - 1))) banned.push_back(run.back());
  }
}

// What may not follow the text because the last n tokens would then be there twice.
void ban_repeated(std::span<const std::int32_t> text, int ngram,
                  std::vector<std::int32_t>& banned) {
  const auto n = static_cast<std::size_t>(ngram);
  if (n == 0 || text.size() < n) return;
  const auto last = text.last(n - 1);
  for (std::size_t i = 0; i + n <= text.size(); ++i) {
    if (std::equal(last.begin(), last.end(), text.begin() + static_cast<std::ptrdiff_t>(i)))
      banned.push_back(text[i + n - 1]);
  }
}

}  // namespace

Edits::Edits(std::span<const std::int32_t> text, const Options& options, std::int32_t eos,
             int vocab, int needed)
    : repetition_penalty(options.repetition_penalty) {
  ban_words(text, options.words, banned);
  ban_repeated(text, options.no_repeat_ngram, banned);
  sort_distinct(banned);
  if (!banned.empty() && vocab - static_cast<int>(banned.size()) <= needed) {
    throw Error(ErrorCode::kUsage, "forbid_words and no_repeat_ngram leave " +
                                       std::to_string(vocab - static_cast<int>(banned.size())) +
                                       " of the vocabulary's " + std::to_string(vocab) +
                                       " tokens after a text of " + std::to_string(text.size()) +
                                       ", and the search needs more than " +
                                       std::to_string(needed) + ": forbid less");
  }
  if (text.size() < static_cast<std::size_t>(std::max(options.min_length.value_or(0), 0))) {
    banned.push_back(eos);
    sort_distinct(banned);
  }
  if (repetition_penalty != 1.0f) tokens.assign(text.begin(), text.end());
  tokens.insert(tokens.end(), banned.begin(), banned.end());
  sort_distinct(tokens);
}

bool Edits::contains(std::int32_t token) const {
  return std::binary_search(tokens.begin(), tokens.end(), token);
}
bool Edits::bans(std::int32_t token) const {
  return std::binary_search(banned.begin(), banned.end(), token);
}

float Edits::apply(std::int32_t token, float score) const {
  if (bans(token)) return -kInfinity;
  return score < 0 ? score * repetition_penalty : score / repetition_penalty;
}

void best_tokens(const LogitRow& row, int k, const Normaliser& norm, const Edits& edits,
                 std::vector<Candidate>& out) {
  // Many bans are cheaper as changes of a copy than as candidates that are thrown away.
  constexpr std::size_t kFewBans = 64;
  if (edits.banned.size() > kFewBans) {
    const std::span<const float> whole = row.whole();
    std::vector<float> values(whole.begin(), whole.end());
    for (const std::int32_t token : edits.banned)
      values[static_cast<std::size_t>(token)] = -kInfinity;
    Edits penalties = edits;
    penalties.banned.clear();
    std::erase_if(penalties.tokens, [&](std::int32_t token) { return edits.bans(token); });
    return best_tokens(LogitRow(values), k, norm, penalties, out);
  }
  // At most edits.tokens.size() of the best can be edited ones: with so many more, k unedited ones
  // are surely among them.
  top_candidates(row, k + static_cast<int>(edits.tokens.size()), out);
  std::erase_if(out, [&](const Candidate& candidate) { return edits.contains(candidate.token); });
  for (Candidate& candidate : out) candidate.score = norm.log_prob(candidate.score);
  for (const std::int32_t token : edits.tokens) {
    const float score = norm.log_prob(row.at(token));
    out.push_back({edits.apply(token, score), token});
  }
  std::sort(out.begin(), out.end(), better);
  if (out.size() > static_cast<std::size_t>(k)) out.resize(static_cast<std::size_t>(k));
}

void warp(std::span<const float> scores, const GenerateOptions& options,
          std::vector<Candidate>& out) {
  out.clear();
  const float max = max_of(scores);
  float least = -kInfinity;  // the k-th largest score
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < scores.size()) {
    std::vector<float> sorted(scores.begin(), scores.end());
    const auto kth = sorted.begin() + (options.top_k - 1);
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    least = *kth;
  }
  double total = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    // The maximum is taken off before the division, which therefore cannot overflow however low the
    // temperature.
    const float x = (scores[i] - max) / options.temperature;
    if (scores[i] < least || x < kLowest) continue;
    out.push_back({exp_nonpositive(x), static_cast<std::int32_t>(i)});
    total += out.back().score;
  }
  if (options.top_p < 1.0f) {
    // All tokens below this share together hold less than 1 - top_p, so they are dropped without
    // being sorted.
    const double negligible = (1.0 - options.top_p) * total / static_cast<double>(scores.size());
    std::erase_if(out, [&](const Candidate& c) { return c.score < negligible && c.score < 1.0f; });
    std::sort(out.begin(), out.end(), better);
    const double mass = options.top_p * total;
    double above = out.front().score;
    std::size_t keep = 1;
    for (; keep < out.size() && above < mass; ++keep) above += out[keep].score;
    out.resize(keep);
    total = above;
  }
  if (options.min_p > 0) {
    // The likeliest token has the score 1, and stays.
    std::erase_if(out, [&](const Candidate& c) { return c.score < options.min_p; });
    total = 0;
    for (const Candidate& candidate : out) total += candidate.score;
  }
  for (Candidate& candidate : out) candidate.score = static_cast<float>(candidate.score / total);
}

std::int32_t draw(std::span<const Candidate> distribution, double u) {
  double sum = 0;
  for (const Candidate& candidate : distribution) sum += candidate.score;
  const double target = u * sum;
  double below = 0;
  for (const Candidate& candidate : distribution) {
    below += candidate.score;
    if (below > target) return candidate.token;
  }
  return distribution.back().token;
}

}  // namespace blip::decode
