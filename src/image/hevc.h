// The HEVC decoder that libheif uses for our pictures: libde265 held to a budget. What the boxes of
// a file say of a picture's size is no promise: the coded frames have sizes of their own, and a
// grid may ask for one cell any number of times.
#pragma once

#include <cstdint>

namespace blip::image {

// While it lives, decoders on this thread may have so many pixels at a time and in all.
class HevcBudget {
 public:
  HevcBudget(std::uint64_t at_a_time, std::uint64_t in_all);
  ~HevcBudget();
  HevcBudget(const HevcBudget&) = delete;
  HevcBudget& operator=(const HevcBudget&) = delete;

  bool take(std::uint64_t pixels);
  void give_back(std::uint64_t pixels) { free_ += pixels; }
  bool is_exhausted() const { return exhausted_; }

 private:
  std::uint64_t free_, left_;
  bool exhausted_ = false;
};

// The decoder's name for heif_decoding_options, registered with libheif at the first call. nullptr:
// libheif refuses it.
const char* hevc_decoder_id();

}  // namespace blip::image
