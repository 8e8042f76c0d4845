// GIF: the first frame on its screen. Our own reader: the format is small, and libraries decode
// every frame.
#include <array>
#include <optional>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "GIF";
constexpr int kMaxCodeBits = 12;
constexpr int kTableSize = 1 << kMaxCodeBits;

using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

struct Frame {
  std::uint32_t x = 0, y = 0, width = 0, height = 0;
  bool interlaced = false;
  std::uint8_t code_bits = 0;
  std::size_t data = 0;  // where its blocks start
};

// A cursor that fails where the file ends.
class Reader {
 public:
  Reader(const Source& source, std::size_t at) : source_(source), at_(at) {}

  std::uint8_t u8() {
    const auto value = read_u8(source_.bytes, at_);
    if (!value) truncated();
    ++at_;
    return *value;
  }
  std::uint32_t u16() {
    const std::uint32_t low = u8();
    return low | static_cast<std::uint32_t>(u8()) << 8;
  }
  Bytes take(std::size_t size) {
    const Bytes bytes = slice(source_.bytes, at_, size);
    if (bytes.size() < size) truncated();
    at_ += size;
    return bytes;
  }
  void skip_blocks() {
    while (const std::uint8_t size = u8()) take(size);
  }
  std::size_t at() const { return at_; }
  [[noreturn]] void truncated() const { fail(source_, kFormat, "the file is truncated"); }

 private:
  const Source& source_;
  std::size_t at_;
};

// A table that is the grey ramp counts as none (Pillow's mode L): index = brightness, even beyond
// the table. Beyond another table is black.
void read_palette(Reader& reader, int bits, Palette& colors) {
  const std::size_t count = std::size_t{1} << bits;
  const Bytes table = reader.take(3 * count);
  Palette palette{};
  bool ramp = true;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      palette[i][c] = std::to_integer<std::uint8_t>(table[3 * i + c]);
      ramp = ramp && palette[i][c] == i;
    }
  }
  if (!ramp) colors = palette;
}

Palette grey_palette() {
  Palette palette;
  for (std::size_t i = 0; i < 256; ++i) palette[i].fill(static_cast<std::uint8_t>(i));
  return palette;
}

// Turns LZW codes back into pixel indices.
class LzwDecoder {
 public:
  LzwDecoder(Reader reader, int bits) : reader_(reader), initial_bits_(bits), clear_(1 << bits) {
    reset();
  }

  // The next string of indices; empty at the end code. Valid until the next call. nullptr data =
  // damaged.
  std::span<const std::uint8_t> next() {
    int code;
    while ((code = read_code()) == clear_) reset();
    if (code == clear_ + 1) return {};
    if (previous_ < 0) {  // the first code after a clear stands for itself
      if (code > clear_) return damaged();
      first_ = static_cast<std::uint8_t>(code);
      previous_ = code;
      buffer_.back() = first_;
      return {&buffer_.back(), 1};
    }
    return expand(code);
  }
  bool is_damaged() const { return damaged_; }

 private:
  std::span<const std::uint8_t> damaged() {
    damaged_ = true;
    return {};
  }

  void reset() {
    code_bits_ = initial_bits_ + 1;
    next_ = clear_ + 2;
    previous_ = -1;
  }

  int read_code() {
    while (bit_count_ < code_bits_) {
      while (block_left_ == 0) {
        block_left_ = reader_.u8();
        Reader(reader_).take(static_cast<std::size_t>(block_left_));  // all of it is there
      }
      bits_ |= static_cast<std::uint32_t>(reader_.u8()) << bit_count_;
      bit_count_ += 8;
      --block_left_;
    }
    const int code = static_cast<int>(bits_ & ((1u << code_bits_) - 1));
    bits_ >>= code_bits_;
    bit_count_ -= code_bits_;
    return code;
  }

  // Writes the code's string into the buffer from its end, and adds the previous string plus one
  // index to the table.
  std::span<const std::uint8_t> expand(int code) {
    if (code > next_) return damaged();
    std::size_t at = buffer_.size();
    int link = code;
    // a string that is being defined: the previous one and its own first index again
    if (code == next_) {
      buffer_[--at] = first_;
      link = previous_;
    }
    while (link >= clear_) {
      if (at == 0 || link >= kTableSize) return damaged();
      buffer_[--at] = suffix_[static_cast<std::size_t>(link)];
      link = prefix_[static_cast<std::size_t>(link)];
    }
    first_ = static_cast<std::uint8_t>(link);
    if (at == 0) return damaged();
    buffer_[--at] = first_;
    if (next_ < kTableSize) {
      suffix_[static_cast<std::size_t>(next_)] = first_;
      prefix_[static_cast<std::size_t>(next_)] = static_cast<std::uint16_t>(previous_);
      if (next_ == (1 << code_bits_) - 1 && code_bits_ < kMaxCodeBits) ++code_bits_;
      ++next_;
    }
    previous_ = code;
    return std::span<const std::uint8_t>(buffer_).subspan(at);
  }

  Reader reader_;
  const int initial_bits_, clear_;
  int code_bits_ = 0, next_ = 0, previous_ = -1;
  std::uint32_t bits_ = 0;
  int bit_count_ = 0, block_left_ = 0;
  std::uint8_t first_ = 0;
  bool damaged_ = false;
  std::array<std::uint8_t, kTableSize> suffix_{};
  std::array<std::uint16_t, kTableSize> prefix_{};
  std::array<std::uint8_t, kTableSize + 2> buffer_{};
};

// The order in which rows are stored.
class RowOrder {
 public:
  RowOrder(std::uint32_t height, bool interlaced)
      : height_(height), pass_(interlaced ? 0 : 3), step_(interlaced ? 8 : 1) {}

  std::uint32_t row() const { return row_; }
  // False after the last row.
  bool advance() {
    static constexpr std::uint32_t kStart[] = {4, 2, 1}, kStep[] = {8, 4, 2};
    row_ += step_;
    while (row_ >= height_) {
      if (pass_ >= 3) return false;
      row_ = kStart[pass_];
      step_ = kStep[pass_++];
    }
    return true;
  }

 private:
  std::uint32_t height_, row_ = 0;
  int pass_;
  std::uint32_t step_;
};

void decode_frame(const Source& source, const Frame& frame, const Palette& palette,
                  std::optional<std::uint8_t> transparent, Decoded& decoded) {
  Rgb& rgb = decoded.rgb;
  LzwDecoder lzw(Reader(source, frame.data), frame.code_bits);
  RowOrder rows(frame.height, frame.interlaced);
  const auto row_start = [&] {
    return rgb.pixels.data() +
           (std::size_t{frame.y + rows.row()} * static_cast<std::size_t>(rgb.width) + frame.x) * 3;
  };
  std::uint8_t* out = row_start();
  std::uint32_t x = 0;
  while (true) {
    const std::span<const std::uint8_t> indices = lzw.next();
    if (lzw.is_damaged()) fail(source, kFormat, "damaged: a code that is not in the table");
    if (indices.empty()) fail(source, kFormat, "damaged: the pixel data ends before the last row");
    for (const std::uint8_t index : indices) {
      const auto& color = palette[index];
      if (!decoded.alpha.empty())
        decoded.alpha[static_cast<std::size_t>(out - rgb.pixels.data()) / 3] =
            index == transparent ? 0 : 255;
      *out++ = color[0];
      *out++ = color[1];
      *out++ = color[2];
      if (++x < frame.width) continue;
      if (!rows.advance()) return;
      x = 0;
      out = row_start();
    }
  }
}

// A code takes at least code_bits + 1 bits and stands for one index more than any before it, at
// most for all of the table. What lies outside the frame is not in the file at all; real screens
// are not much larger than their first frame.
void check_room(const Source& source, const Frame& frame, std::uint64_t screen) {
  const std::uint64_t bytes = source.bytes.size() - frame.data;
  const std::uint64_t codes = bytes * 8 / (frame.code_bits + 1u) + 1;
  const std::uint64_t most = std::min(codes * (codes + 1) / 2, codes * kTableSize);
  const std::uint64_t pixels = std::uint64_t{frame.width} * frame.height;
  if (pixels > most) fail(source, kFormat, "the file is truncated");
  constexpr std::uint64_t kFreeScreen = std::uint64_t{1} << 24, kPixelsPerByte = 4096;
  if (screen > pixels && screen > std::max(kFreeScreen, kPixelsPerByte * source.bytes.size())) {
    fail(source, kFormat,
         "a screen of " + std::to_string(screen) + " pixels around a frame of " +
             std::to_string(pixels) + ", far more than a file of " +
             std::to_string(source.bytes.size()) + " bytes is for; refused");
  }
}

}  // namespace

Decoded decode_gif(const Source& source) {
  Reader reader(source, 6);
  std::uint32_t width = reader.u16(), height = reader.u16();
  const std::uint8_t screen_flags = reader.u8();
  reader.take(2);  // background, aspect
  Palette palette = grey_palette();
  if (screen_flags & 0x80) read_palette(reader, (screen_flags & 7) + 1, palette);

  std::optional<std::uint8_t> transparent;
  while (true) {
    const std::uint8_t kind = reader.u8();
    if (kind == ',') break;
    if (kind == ';') fail(source, kFormat, "it holds no picture");
    if (kind != '!') continue;  // junk between blocks
    const std::uint8_t label = reader.u8();
    if (label == 0xf9) {  // graphic control: the transparent colour, which also fills the screen
      const Bytes block = reader.take(reader.u8());
      if (block.empty()) continue;
      if (block.size() >= 4 && (std::to_integer<int>(block[0]) & 1))
        transparent = std::to_integer<std::uint8_t>(block[3]);
    }
    reader.skip_blocks();
  }

  Frame frame;
  frame.x = reader.u16();
  frame.y = reader.u16();
  frame.width = reader.u16();
  frame.height = reader.u16();
  const std::uint8_t flags = reader.u8();
  frame.interlaced = flags & 0x40;
  // A frame's grey ramp does not replace the screen's colours: this is what Pillow shows.
  if (flags & 0x80) read_palette(reader, (flags & 7) + 1, palette);
  frame.code_bits = reader.u8();
  frame.data = reader.at();
  if (frame.width == 0 || frame.height == 0) fail(source, kFormat, "the first frame is empty");
  if (frame.code_bits > kMaxCodeBits)
    fail(source, kFormat, "damaged: codes of " + std::to_string(frame.code_bits) + " bits");

  // A frame that sticks out of the screen enlarges it.
  width = std::max(width, frame.x + frame.width);
  height = std::max(height, frame.y + frame.height);
  check_size(source, kFormat, width, height);
  check_room(source, frame, std::uint64_t{width} * height);
  Decoded decoded =
      begin(source, kFormat, width, height, 1, sizeof(LzwDecoder), transparent.has_value());
  if (source.header_only) return decoded;
  if (frame.width != width || frame.height != height) {
    const auto& color = palette[transparent.value_or(0)];
    for (std::size_t i = 0; i < decoded.rgb.pixels.size(); ++i)
      decoded.rgb.pixels[i] = color[i % 3];
    std::fill(decoded.alpha.begin(), decoded.alpha.end(), std::uint8_t{0});
  }
  decode_frame(source, frame, palette, transparent, decoded);
  return decoded;
}

}  // namespace blip::image
