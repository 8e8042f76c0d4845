#include "backend/sophon/cache_decoder.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

namespace blip::backend::sophon {
namespace {

// Ports of the step and prefill networks (NETWORKS.md).
constexpr std::size_t kStepIds = 0, kStepPosition = 1, kStepCache = 2, kStepCross = 3,
                      kStepMask = 4;
constexpr std::size_t kPrefillIds = 0, kPrefillLast = 1, kPrefillCross = 2;
constexpr std::size_t kLogits = 0, kNextCache = 1;

std::vector<std::int32_t> each_its_own(int rows) {
  std::vector<std::int32_t> parents(static_cast<std::size_t>(rows));
  std::iota(parents.begin(), parents.end(), 0);
  return parents;
}

}  // namespace

StepNetworks::StepNetworks(const NetworkSet& networks, Part step, std::optional<Part> prefill)
    : networks_(networks), step_(step) {
  for (const int rows : sizes()) steps_.emplace(rows, networks.get(step, rows));
  if (prefill) prefill_.emplace(networks.get(*prefill));
  const int rows = sizes().front();
  row_bytes_ =
      this->step(rows).network().outputs()[kNextCache].bytes / static_cast<std::size_t>(rows);
}

Launcher& StepNetworks::step(int rows) { return steps_.at(rows); }

MemoryPtr StepNetworks::take_cache() {
  if (!spare_.empty()) {
    MemoryPtr cache = std::move(spare_.back());
    spare_.pop_back();
    return cache;
  }
  std::size_t bytes = prefill_ ? prefill_->network().outputs()[kNextCache].capacity : 0;
  for (const auto& [rows, step] : steps_)
    bytes = std::max({bytes, step.network().inputs()[kStepCache].capacity,
                      step.network().outputs()[kNextCache].capacity});
  auto cache = std::make_unique<DeviceMemory>(networks_.device(), bytes);
  cache->upload(std::vector<std::byte>(bytes));
  return cache;
}

CacheDecoder::CacheDecoder(StepNetworks& networks, std::vector<Attended> sequences)
    : networks_(networks) {
  for (Attended& attended : sequences) sequences_.push_back({std::move(attended), {}});
}

CacheDecoder::~CacheDecoder() {
  for (Sequence& sequence : sequences_) release(sequence.chunks);
}

CacheDecoder::Chunk CacheDecoder::make_chunk(int rows) {
  MemoryPtr cache = networks_.take_cache();
  return {rows, std::move(cache), networks_.take_cache(), each_its_own(rows)};
}

void CacheDecoder::release(std::vector<Chunk>& chunks) {
  for (Chunk& chunk : chunks) {
    networks_.give_back(std::move(chunk.cache));
    networks_.give_back(std::move(chunk.next));
  }
  chunks.clear();
}

std::span<const float> CacheDecoder::prefill(std::span<const std::int32_t> prompt) {
  assert(rows_.empty() && !prompt.empty() && static_cast<int>(prompt.size()) <= max_positions());
  for (int s = 0; s < sequences(); ++s) {
    sequences_[static_cast<std::size_t>(s)].chunks.push_back(
        make_chunk(split_rows(1, networks_.sizes()).front()));
    rows_.push_back({s, {0, 0}});
  }
  if (networks_.prefill()) prefill_prompt(prompt);
  while (length_ < static_cast<int>(prompt.size())) {
    std::vector<Next> next;
    for (int s = 0; s < sequences(); ++s)
      next.push_back({s, prompt[static_cast<std::size_t>(length_)]});
    step(next);
  }
  return logits_;
}

// As much of the prompt as the network takes; the logits are right if that is all of it.
void CacheDecoder::prefill_prompt(std::span<const std::int32_t> prompt) {
  Launcher& launcher = *networks_.prefill();
  const auto width = static_cast<std::size_t>(networks_.manifest().prompt_length);
  const std::size_t fed = std::min(prompt.size(), width);
  std::vector<std::int32_t> ids(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(fed));
  ids.resize(width, networks_.manifest().pad);
  std::vector<float> last(width, 0.f);
  last[fed - 1] = 1.f;
  launcher.put_numbers(kPrefillIds, ids);
  launcher.put_floats(kPrefillLast, last);
  logits_.clear();
  for (Sequence& sequence : sequences_) {
    // Row 0 of the chunk's memory is where the first row of its cache lies.
    std::vector<const DeviceMemory*> inputs(kPrefillCross + 1, nullptr);
    inputs[kPrefillCross] = sequence.attended.cross.get();
    launcher.run(std::move(inputs), {nullptr, sequence.chunks.front().cache.get()});
    const std::vector<float> logits =
        launcher.floats(kLogits, static_cast<std::size_t>(vocab_size()));
    logits_.insert(logits_.end(), logits.begin(), logits.end());
  }
  length_ = static_cast<int>(fed);
}

std::span<const float> CacheDecoder::step(std::span<const Next> next) {
  assert(!rows_.empty() && !next.empty() && length_ < max_positions());
  std::vector<std::vector<std::size_t>> by_sequence(sequences_.size());
  for (std::size_t i = 0; i < next.size(); ++i)
    by_sequence[static_cast<std::size_t>(rows_[static_cast<std::size_t>(next[i].parent)].sequence)]
        .push_back(i);
  logits_.resize(next.size() * static_cast<std::size_t>(vocab_size()));
  std::vector<Row> rows(next.size());
  for (std::size_t s = 0; s < sequences_.size(); ++s) {
    Sequence& sequence = sequences_[s];
    const auto& which = by_sequence[s];
    if (which.empty()) {
      release(sequence.chunks);
      continue;
    }
    const std::vector<CachePosition> places = arrange(sequence, next, which);
    for (std::size_t chunk = 0; chunk < sequence.chunks.size(); ++chunk)
      launch(sequence, chunk, next, which, places);
    for (std::size_t i = 0; i < which.size(); ++i)
      rows[which[i]] = {static_cast<int>(s), places[i]};
  }
  rows_ = std::move(rows);
  ++length_;
  return logits_;
}

std::vector<CachePosition> CacheDecoder::arrange(Sequence& sequence, std::span<const Next> next,
                                                 const std::vector<std::size_t>& which) {
  std::vector<int> chunks;
  for (const Chunk& chunk : sequence.chunks) chunks.push_back(chunk.rows);
  std::vector<CachePosition> parents;
  for (const std::size_t i : which)
    parents.push_back(rows_[static_cast<std::size_t>(next[i].parent)].place);
  StepPlan plan = plan_step(chunks, parents, networks_.sizes());
  // A larger network that reorders reads the rows of the one cache where they lie.
  const bool grows = chunks.size() == 1 && plan.chunks.size() == 1 &&
                     plan.chunks.front() > chunks.front() &&
                     networks_.reorders(plan.chunks.front());
  if (!plan.repack || grows) {
    for (std::size_t i = 0; i < plan.chunks.size(); ++i) {
      sequence.chunks[i].rows = plan.chunks[i];
      sequence.chunks[i].parents = each_its_own(plan.chunks[i]);
    }
    copy_rows(sequence.chunks, sequence.chunks, plan.copies);
  } else {
    std::vector<Chunk> made;
    for (const int rows : plan.chunks) made.push_back(make_chunk(rows));
    copy_rows(made, sequence.chunks, plan.copies);
    release(sequence.chunks);
    sequence.chunks = std::move(made);
  }
  return std::move(plan.places);
}

// On the chip, or by the network where it can.
void CacheDecoder::copy_rows(std::vector<Chunk>& to, const std::vector<Chunk>& from,
                             std::span<const StepPlan::Copy> copies) const {
  const std::size_t bytes = networks_.row_bytes();
  for (const StepPlan::Copy& copy : copies) {
    Chunk& target = to[static_cast<std::size_t>(copy.to.chunk)];
    const Chunk& source = from[static_cast<std::size_t>(copy.from.chunk)];
    if (&target == &source && networks_.reorders(target.rows))
      target.parents[static_cast<std::size_t>(copy.to.row)] = copy.from.row;
    else
      target.cache->copy(static_cast<std::size_t>(copy.to.row) * bytes, *source.cache,
                         static_cast<std::size_t>(copy.from.row) * bytes, bytes);
  }
}

void CacheDecoder::launch(Sequence& sequence, std::size_t chunk, std::span<const Next> next,
                          const std::vector<std::size_t>& which,
                          const std::vector<CachePosition>& places) {
  Chunk& rows = sequence.chunks[chunk];
  std::vector<std::int32_t> ids(static_cast<std::size_t>(rows.rows), networks_.manifest().pad);
  int used = 0;
  for (std::size_t i = 0; i < which.size(); ++i) {
    if (places[i].chunk != static_cast<int>(chunk)) continue;
    ids[static_cast<std::size_t>(places[i].row)] = next[which[i]].token;
    used = std::max(used, places[i].row + 1);
  }
  if (used == 0) return;
  Launcher& launcher = networks_.step(rows.rows);
  const std::int32_t position = length_;
  launcher.put_numbers(kStepIds, ids);
  launcher.put_numbers(kStepPosition, {&position, 1});
  std::vector<const DeviceMemory*> inputs(launcher.network().inputs().size(), nullptr);
  inputs[kStepCache] = rows.cache.get();
  inputs[kStepCross] = sequence.attended.cross.get();
  if (sequence.attended.mask) inputs[kStepMask] = sequence.attended.mask.get();
  if (networks_.reorders(rows.rows)) launcher.put_numbers(inputs.size() - 1, rows.parents);
  launcher.run(std::move(inputs), {nullptr, rows.next.get()});
  std::swap(rows.cache, rows.next);
  const auto vocab = static_cast<std::size_t>(vocab_size());
  const std::vector<float> logits =
      launcher.floats(kLogits, static_cast<std::size_t>(used) * vocab);
  for (std::size_t i = 0; i < which.size(); ++i) {
    if (places[i].chunk != static_cast<int>(chunk)) continue;
    const auto row = logits.begin() +
                     static_cast<std::ptrdiff_t>(static_cast<std::size_t>(places[i].row) * vocab);
    std::copy_n(row, vocab, logits_.begin() + static_cast<std::ptrdiff_t>(which[i] * vocab));
  }
}

}  // namespace blip::backend::sophon
