// Greedy search and sampling: every text grows on its own, one token a step.
#include <algorithm>

#include "decode/logits.h"
#include "decode/random.h"
#include "decode/search.h"

namespace blip::decode {
namespace {

// One text in the making.
struct Stream {
  int sequence;
  int sample;
  int row;  // of the last call, whose logits continue it
  Random random;
  std::vector<std::int32_t> ids;
  double score = 0;  // by the model's own probabilities, before penalties and warpers
};

// Reused from step to step.
struct Scratch {
  std::vector<float> scores;
  std::vector<Candidate> candidates;
};

std::int32_t choose(const LogitRow& row, int vocab, const Request& request, Stream& stream,
                    Scratch& scratch) {
  const Edits edits(stream.ids, request.options, request.tokens.eos, vocab, 1);
  if (!request.options.sample) {
    best_tokens(row, 1, Normaliser{}, edits, scratch.candidates);
    return scratch.candidates.front().token;
  }
  const std::span<const float> whole = row.whole();
  scratch.scores.assign(whole.begin(), whole.end());
  for (const std::int32_t token : edits.tokens) {
    float& score = scratch.scores[static_cast<std::size_t>(token)];
    score = edits.apply(token, score);
  }
  warp(scratch.scores, request.options, scratch.candidates);
  return draw(scratch.candidates, stream.random.uniform());
}

// Adds a token; true when the text goes on.
bool advance(const Decoder& decoder, std::span<const float> logits, const Request& request,
             Stream& stream, Scratch& scratch) {
  const LogitRow row = row_of(decoder, logits, stream.row);
  const Normaliser norm = normalise(row);
  const std::int32_t token = choose(row, decoder.vocab_size(), request, stream, scratch);
  stream.score += norm.log_prob(row.at(token));
  stream.ids.push_back(token);
  if (request.hooks.on_token && stream.sample == 0) request.hooks.on_token(stream.sequence, token);
  return token != request.tokens.eos &&
         stream.ids.size() < static_cast<std::size_t>(request.options.max_length);
}

}  // namespace

std::vector<std::vector<Hypothesis>> one_by_one(Decoder& decoder, const Request& request) {
  const int samples = request.options.sample ? request.options.num_return : 1;
  std::vector<Stream> streams;
  for (int s = 0; s < decoder.sequences(); ++s) {
    for (int i = 0; i < samples; ++i) {
      // Not by s: a text must not depend on its input's place in the batch.
      const Random random(request.options.seed, static_cast<std::uint64_t>(i));
      streams.push_back({s, i, s, random, {request.prompt.begin(), request.prompt.end()}});
    }
  }
  std::vector<Stream*> active;
  for (Stream& stream : streams) active.push_back(&stream);

  poll(request.hooks);
  std::span<const float> logits = prefill(decoder, request.prompt);
  Scratch scratch;
  std::vector<Decoder::Next> next;
  while (true) {
    std::erase_if(active, [&](Stream* stream) {
      return !advance(decoder, logits, request, *stream, scratch);
    });
    if (active.empty()) break;
    next.clear();
    for (Stream* stream : active) {
      next.push_back({stream->row, stream->ids.back()});
      stream->row = static_cast<int>(next.size()) - 1;
    }
    poll(request.hooks);
    logits = step(decoder, next);
  }

  std::vector<std::vector<Hypothesis>> results(static_cast<std::size_t>(decoder.sequences()));
  for (Stream& stream : streams) {
    results[static_cast<std::size_t>(stream.sequence)].push_back(
        {std::move(stream.ids), static_cast<float>(stream.score)});
  }
  for (std::vector<Hypothesis>& texts : results) {
    std::stable_sort(texts.begin(), texts.end(),
                     [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  }
  return results;
}

}  // namespace blip::decode
