// What beam search with and without forced words shares. Internal to src/decode.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decode/logits.h"
#include "decode/search.h"

namespace blip::decode {

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

// What a beam's next token scores: the model's logits, normalised and edited.
struct NextScores {
  LogitRow row;
  Normaliser norm;
  Edits edits;

  NextScores(const Decoder& decoder, std::span<const float> logits, const Beam& beam,
             const Request& request);
  float of(std::int32_t token) const { return edits.edited(token, norm.log_prob(row.at(token))); }
};

// The best `keep` continuations of all beams, best first.
void find_continuations(std::span<const Beam> beams, std::span<const NextScores> scores,
                        std::size_t keep, std::vector<Continuation>& out);

// The beam with one token more; it still continues the row of the beam.
Beam extended(const Beam& beam, const Continuation& continuation);

// One row of the next call for each of the beams, which are told theirs.
void append_rows(std::span<Beam> beams, std::vector<Decoder::Next>& next);

// Runs one Search for each sequence to its end. Rows of those that are done are dropped, which
// changes no other.
template <class Search>
std::vector<std::vector<Hypothesis>> run_searches(Decoder& decoder, const Request& request) {
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
