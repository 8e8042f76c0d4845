// Decodes and prepares pictures on a thread of its own while the model works on the ones before.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>

#include "blip/blip.h"
#include "cli/inputs.h"
#include "cli/look_index.h"
#include "cli/recent.h"

namespace blip::cli {

// An input decoded; without a picture its `error` says why, unless it is a pause.
struct Decoded : Input {
  std::optional<Image> image;
  // Of its bytes, where duplicates are looked for.
  std::optional<jobs::Key> content{};
  // Not decoded: one of the kDistinct different contents before it is the same.
  bool duplicate = false;
  // Where near duplicates are looked for: the number that a LookIndex gave it. Pictures come in the
  // order of these numbers.
  std::optional<std::uint64_t> look{};
  // Without a picture: it is near the one of this number.
  std::optional<std::uint64_t> looks_like{};
  // Of a row of pairs: its picture is that of the input before.
  bool same_picture = false;
};

// Which duplicates are looked for.
struct Dedupe {
  bool bytes = false;                  // files that are the same byte for byte
  std::optional<int> near_distance{};  // pictures whose perceptual hashes differ in so many bits
};

// How many different contents are remembered to find duplicates.
inline constexpr std::size_t kDistinct = 1 << 16;

class Prefetch {
 public:
  // The next input, nullopt after the last; called on that thread. What it throws comes out of
  // next(). It gives up where `stop` says so.
  using Next = std::function<std::optional<Input>(const Stop& stop)>;
  using Prepare = std::function<Image(const Image&)>;
  // Keeps up to `ahead` pictures ready, fewer when they are large. prepare: what to do with each on
  // that thread; unset = nothing.
  // dedupe: pictures whose bytes came before are not decoded, near ones not kept.
  Prefetch(Next next, const DecodeOptions& options, std::size_t ahead, Prepare prepare = {},
           const Dedupe& dedupe = {});
  ~Prefetch();
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  // The next input in order, waiting for it; nullopt after the last.
  std::optional<Decoded> next();
  // Whether next() need not wait.
  bool is_ready();

 private:
  void decode_all();
  std::optional<Decoded> decode_next(const Stop& stop);
  void decode(Decoded& decoded, const Stop& stop);
  void find_content(Decoded& decoded);
  void find_look(Decoded& decoded);
  bool has_room() const;  // call with mutex_ held

  const Next source_;
  const DecodeOptions options_;
  const std::size_t ahead_;
  const Prepare prepare_;
  const bool dedupe_bytes_;
  Recent<std::monostate> contents_{kDistinct};
  std::optional<LookIndex> looks_;
  Decoded last_;  // the last row of pairs: the next is often of the same picture
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Decoded> ready_;
  std::size_t ready_bytes_ = 0;
  bool stop_ = false, ended_ = false;
  std::exception_ptr failure_;  // what ends the run, not one input
  std::thread thread_;          // starts when everything above is there
};

}  // namespace blip::cli
