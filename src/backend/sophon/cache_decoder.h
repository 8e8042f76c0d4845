// A text decoder in flight on a chip: its KV caches stay in the chip's memory.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "backend/sophon/network_set.h"
#include "backend/sophon/rows.h"
#include "backend/sophon/values.h"
#include "decode/generate.h"

namespace blip::backend::sophon {

// The step networks of one decoder and cache memory for them, kept from one text to the next. One
// thread at a time.
class StepNetworks {
 public:
  // prefill: kCaptionPrefill, or nullopt where the decoder has none.
  StepNetworks(const NetworkSet& networks, Part step, std::optional<Part> prefill);

  const Manifest& manifest() const { return networks_.manifest(); }
  const std::vector<int>& sizes() const { return networks_.sizes(step_); }
  Launcher& step(int rows);
  Launcher* prefill() { return prefill_ ? &*prefill_ : nullptr; }
  std::size_t row_bytes() const { return row_bytes_; }
  // Whether a network of so many rows reads each one's cache from the row that it is told.
  bool reorders(int rows) const { return networks_.takes_parents(step_, rows); }

  // A cache for the network of the most rows; what it holds is finite.
  MemoryPtr take_cache();
  void give_back(MemoryPtr cache) { spare_.push_back(std::move(cache)); }

 private:
  const NetworkSet& networks_;
  Part step_;
  std::map<int, Launcher> steps_;
  std::optional<Launcher> prefill_;
  std::size_t row_bytes_;
  std::vector<MemoryPtr> spare_;
};

// What a sequence attends to: keys and values of an image, or of a question with its mask.
struct Attended {
  std::shared_ptr<const DeviceMemory> cross;
  std::shared_ptr<const DeviceMemory> mask;  // null: all of it
};

class CacheDecoder final : public decode::Decoder {
 public:
  // networks must outlive the decoder.
  CacheDecoder(StepNetworks& networks, std::vector<Attended> sequences);
  ~CacheDecoder() override;

  int vocab_size() const override { return networks_.manifest().vocabulary_size; }
  int max_positions() const override { return networks_.manifest().slots; }
  int sequences() const override { return static_cast<int>(sequences_.size()); }
  std::span<const float> prefill(std::span<const std::int32_t> prompt) override;
  std::span<const float> step(std::span<const Next> next) override;

 private:
  // Rows of one launch: the cache that the next one reads and the one that it writes; and the rows
  // of the former that it continues, where the network takes them.
  struct Chunk {
    int rows;
    MemoryPtr cache, next;
    std::vector<std::int32_t> parents;
  };
  struct Sequence {
    Attended attended;
    std::vector<Chunk> chunks;
  };
  struct Row {
    int sequence;
    CachePosition place;
  };
  Chunk make_chunk(int rows);
  void release(std::vector<Chunk>& chunks);
  void copy_rows(std::vector<Chunk>& to, const std::vector<Chunk>& from,
                 std::span<const StepPlan::Copy> copies) const;
  void prefill_prompt(std::span<const std::int32_t> prompt);
  // which: the rows of `next` that are of this sequence. Gives their new places.
  std::vector<CachePosition> arrange(Sequence& sequence, std::span<const Next> next,
                                     const std::vector<std::size_t>& which);
  void launch(Sequence& sequence, std::size_t chunk, std::span<const Next> next,
              const std::vector<std::size_t>& which, const std::vector<CachePosition>& places);

  StepNetworks& networks_;
  std::vector<Sequence> sequences_;
  std::vector<Row> rows_;
  int length_ = 0;
  std::vector<float> logits_;  // [rows, vocab]
};

}  // namespace blip::backend::sophon
