// JPEG XL through libjxl: the picture, or an animation's first frame, in 8 bits.
#include <jxl/decode.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "JPEG XL";

// libjxl's blocks, counted against a limit. Before its version 0.11 it asks only for small ones
// here, and its pixels come from elsewhere: then what the header says is all that can be checked.
class Memory {
 public:
  explicit Memory(std::uint64_t limit) : limit_(limit) {}

  JxlMemoryManager manager() {
    return {this,
            [](void* self, std::size_t size) { return static_cast<Memory*>(self)->allocate(size); },
            [](void* self, void* block) { static_cast<Memory*>(self)->release(block); }};
  }
  bool is_exhausted() const { return exhausted_; }

 private:
  // The size stands before the block.
  static constexpr std::size_t kHeader = 64;

  void* allocate(std::size_t size) {
    if (size > limit_ || used_ > limit_ - size) {
      exhausted_ = true;
      return nullptr;
    }
    auto* block = static_cast<std::byte*>(std::malloc(size + kHeader));
    if (!block) return nullptr;
    *reinterpret_cast<std::size_t*>(block) = size;
    used_ += size;
    return block + kHeader;
  }
  void release(void* address) {
    if (!address) return;
    std::byte* block = static_cast<std::byte*>(address) - kHeader;
    used_ -= *reinterpret_cast<std::size_t*>(block);
    std::free(block);
  }

  const std::uint64_t limit_;
  std::uint64_t used_ = 0;
  bool exhausted_ = false;
};

// Runs libjxl's loops, whose lengths follow the size of the frame that it works on, whatever the
// picture's header says: a frame far larger than the picture is refused, and so is one layer after
// another without end.
class Work {
 public:
  void expect(std::uint64_t width, std::uint64_t height) {
    constexpr std::uint64_t kFree = 4096, kSmallestGroup = 128 * 128, kLayers = 64;
    longest_ = kFree + 2 * (width + height) + 2 * (width * height / kSmallestGroup);
    left_ = longest_ * kLayers;
  }
  bool is_exhausted() const { return exhausted_; }

  static JxlParallelRetCode run(void* self, void* loop, JxlParallelRunInit init,
                                JxlParallelRunFunction step, std::uint32_t begin,
                                std::uint32_t end) {
    return static_cast<Work*>(self)->run_loop(loop, init, step, begin, end);
  }

 private:
  JxlParallelRetCode run_loop(void* loop, JxlParallelRunInit init, JxlParallelRunFunction step,
                              std::uint32_t begin, std::uint32_t end) {
    constexpr JxlParallelRetCode kStopped = -1;
    const std::uint64_t count = end - begin;
    if (count > longest_ || count > left_) {
      exhausted_ = true;
      return kStopped;
    }
    left_ -= count;
    if (const JxlParallelRetCode result = init(loop, 1); result != 0) return result;
    for (std::uint32_t i = begin; i < end; ++i) step(loop, i, 0);
    return 0;
  }

  std::uint64_t longest_ = 4096, left_ = 1 << 20;
  bool exhausted_ = false;
};

struct Destroy {
  void operator()(JxlDecoder* decoder) const { JxlDecoderDestroy(decoder); }
};

// Floats for every channel, and what transforms between them take: less for most files, but the
// header does not say which.
std::uint64_t working_bytes(const JxlBasicInfo& info, bool four) {
  constexpr std::uint64_t kBase = 32 << 20;
  const std::uint64_t pixels = std::uint64_t{info.xsize} * info.ysize;
  const std::uint64_t channels = std::uint64_t{3} + info.num_extra_channels;
  return kBase + pixels * (channels * sizeof(float) * 5 / 2 + (four ? 4 : 0));
}

class Decoding {
 public:
  explicit Decoding(const Source& source)
      : source_(source),
        memory_(source.limits.max_memory != 0 ? source.limits.max_memory : UINT64_MAX),
        manager_(memory_.manager()),
        decoder_(JxlDecoderCreate(&manager_)) {
    if (!decoder_) fail(source, kFormat, "not enough memory to open it");
    const auto* data = reinterpret_cast<const std::uint8_t*>(source.bytes.data());
    const bool good =
        JxlDecoderSetParallelRunner(decoder_.get(), Work::run, &work_) == JXL_DEC_SUCCESS &&
        JxlDecoderSubscribeEvents(decoder_.get(), JXL_DEC_BASIC_INFO | JXL_DEC_FULL_IMAGE) ==
            JXL_DEC_SUCCESS &&
        JxlDecoderSetKeepOrientation(decoder_.get(), JXL_TRUE) == JXL_DEC_SUCCESS &&
        JxlDecoderSetUnpremultiplyAlpha(decoder_.get(), JXL_TRUE) == JXL_DEC_SUCCESS &&
        JxlDecoderSetInput(decoder_.get(), data, source.bytes.size()) == JXL_DEC_SUCCESS;
    if (!good) fail(source, kFormat, "libjxl refuses its settings");
    JxlDecoderCloseInput(decoder_.get());
  }

  Decoded run() {
    proceed_to(JXL_DEC_BASIC_INFO);
    JxlBasicInfo info;
    if (JxlDecoderGetBasicInfo(decoder_.get(), &info) != JXL_DEC_SUCCESS)
      fail(source_, kFormat, "damaged: it has no header");
    const bool has_alpha = info.alpha_bits > 0;
    const bool four = has_alpha && (source_.want_alpha || info.alpha_premultiplied);
    // With the sides as they are stored, and the number as in EXIF.
    Decoded decoded =
        begin(source_, kFormat, info.xsize, info.ysize, static_cast<int>(info.orientation),
              working_bytes(info, four), has_alpha);
    if (source_.header_only) return decoded;
    work_.expect(info.xsize, info.ysize);
    proceed_to(JXL_DEC_NEED_IMAGE_OUT_BUFFER);
    const JxlPixelFormat format = {four ? 4u : 3u, JXL_TYPE_UINT8, JXL_NATIVE_ENDIAN, 0};
    std::vector<std::uint8_t> rgba(four ? decoded.rgb.pixels.size() / 3 * 4 : 0);
    std::vector<std::uint8_t>& out = four ? rgba : decoded.rgb.pixels;
    std::size_t needed = 0;
    if (JxlDecoderImageOutBufferSize(decoder_.get(), &format, &needed) != JXL_DEC_SUCCESS ||
        needed != out.size())
      fail(source_, kFormat, "damaged: its frame has another size than its header says");
    if (JxlDecoderSetImageOutBuffer(decoder_.get(), &format, out.data(), out.size()) !=
        JXL_DEC_SUCCESS)
      fail(source_, kFormat, "damaged: its frame cannot be shown");
    proceed_to(JXL_DEC_FULL_IMAGE);
    if (four) split_alpha(rgba, decoded);
    return decoded;
  }

 private:
  void proceed_to(JxlDecoderStatus wanted) {
    const JxlDecoderStatus status = JxlDecoderProcessInput(decoder_.get());
    if (status == wanted) return;
    if (memory_.is_exhausted())
      fail(source_, kFormat,
           "it would take more memory to decode than the limit; raise it with --max-memory if you "
           "trust the file");
    if (work_.is_exhausted())
      fail(source_, kFormat,
           "damaged: its frames are far larger, or far more, than the picture needs");
    if (status == JXL_DEC_NEED_MORE_INPUT) fail(source_, kFormat, "the file is truncated");
    fail(source_, kFormat, "damaged: it cannot be decoded");
  }

  const Source& source_;
  Memory memory_;
  Work work_;
  const JxlMemoryManager manager_;
  const std::unique_ptr<JxlDecoder, Destroy> decoder_;
};

}  // namespace

Decoded decode_jxl(const Source& source) { return Decoding(source).run(); }

}  // namespace blip::image
