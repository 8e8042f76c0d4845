#include "decode/beams.h"

#include <algorithm>

namespace blip::decode {
namespace {

bool better(const Continuation& a, const Continuation& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

}  // namespace

NextScores::NextScores(const Decoder& decoder, std::span<const float> logits, const Beam& beam,
                       const Request& request)
    : row(row_of(decoder, logits, beam.row)),
      norm(normalise(row)),
      edits(beam.ids, request.options, request.tokens.eos, decoder.vocab_size(),
            2 * request.options.beams) {}

void find_continuations(std::span<const Beam> beams, std::span<const NextScores> scores,
                        std::size_t keep, std::vector<Continuation>& out) {
  out.clear();
  std::vector<Candidate> candidates;
  for (std::size_t b = 0; b < beams.size(); ++b) {
    best_tokens(scores[b].row, static_cast<int>(keep), scores[b].norm, scores[b].edits, candidates);
    for (const Candidate& candidate : candidates)
      out.push_back({candidate.score + beams[b].score, static_cast<int>(b), candidate.token});
  }
  const std::size_t kept = std::min(out.size(), keep);
  std::partial_sort(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(kept), out.end(),
                    better);
  out.resize(kept);
}

Beam extended(const Beam& beam, const Continuation& continuation) {
  Beam longer{{}, continuation.score, beam.row};
  longer.ids.reserve(beam.ids.size() + 1);
  longer.ids.assign(beam.ids.begin(), beam.ids.end());
  longer.ids.push_back(continuation.token);
  return longer;
}

void append_rows(std::span<Beam> beams, std::vector<Decoder::Next>& next) {
  for (Beam& beam : beams) {
    next.push_back({beam.row, beam.ids.back()});
    beam.row = static_cast<int>(next.size()) - 1;
  }
}

}  // namespace blip::decode
