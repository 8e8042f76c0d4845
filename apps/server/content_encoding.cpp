#include "server/content_encoding.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "base/ascii.h"
#include "server/problem.h"

namespace blip::server {
namespace {

constexpr std::size_t kChunk = 64 * 1024;
constexpr int kAnyHeader = 15 + 32;  // zlib's or gzip's, found by its first bytes

struct Stream : z_stream {
  Stream() : z_stream{} {
    if (inflateInit2(this, kAnyHeader) != Z_OK) throw std::bad_alloc();
  }
  ~Stream() { inflateEnd(this); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

[[noreturn]] void damaged() {
  throw Problem(kInvalidRequest, "the body's gzip data are damaged or incomplete");
}

std::string unpacked(const std::string& body, std::size_t max_body, MemoryBudget::Share& memory) {
  Stream stream;
  std::string out, piece(kChunk, '\0');
  std::size_t read = 0;
  for (int state = Z_OK; state != Z_STREAM_END;) {
    if (stream.avail_in == 0) {
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data() + read));
      stream.avail_in = static_cast<uInt>(std::min(kChunk, body.size() - read));
      read += stream.avail_in;
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    const std::size_t got = piece.size() - stream.avail_out;
    if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) damaged();
    if (state == Z_BUF_ERROR && read == body.size()) damaged();
    if (got == 0 && state == Z_OK && stream.avail_in == 0 && read == body.size()) damaged();
    if (out.size() + got > max_body)
      throw Problem(kTooLarge, "the unpacked body is larger than " + std::to_string(max_body) +
                                   " bytes, this server's limit (--max-body)");
    if (!memory.grow(MemoryBudget::kBodyCopies * got)) throw Problem(kOutOfMemory, kNoMemoryNow);
    out.append(piece, 0, got);
    // gzip files may follow each other.
    if (state == Z_STREAM_END && (stream.avail_in > 0 || read < body.size())) {
      if (inflateReset(&stream) != Z_OK) damaged();
      state = Z_OK;
    }
  }
  return out;
}

}  // namespace

void unpack_body(Exchange& exchange, std::size_t max_body, MemoryBudget& memory) {
  const std::string encoding = lower(exchange.request.header("content-encoding"));
  if (encoding.empty() || encoding == "identity") return;
  if (encoding != "gzip" && encoding != "x-gzip" && encoding != "deflate")
    throw Problem(kUnsupportedMedia,
                  "Content-Encoding \"" + encoding + "\"; send gzip, deflate or a plain body");
  auto share = memory.empty(MemoryKind::kBodies);
  exchange.request.body = unpacked(exchange.request.body, max_body, share);
  exchange.unpacked_memory = std::make_shared<MemoryBudget::Share>(std::move(share));
}

}  // namespace blip::server
