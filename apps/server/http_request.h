// Reads one HTTP/1.x request from bytes, without sockets: Boost.Beast takes the head apart; what
// RFC 9112 leaves to the reader, and what a proxy in front may read in another way, is refused
// here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "server/http.h"

namespace blip::server {

inline constexpr std::size_t kMaxTarget = 16 * 1024;  // more is 414
inline constexpr std::size_t kMaxHead = 64 * 1024;    // request line and headers; more is 431
inline constexpr std::size_t kMaxFields = 100;        // headers; more is 431
inline constexpr std::size_t kMaxParameters = 400;    // of the query; more is 400
inline constexpr std::size_t kMaxChunkLine =
    1024;  // a chunk's size with its extensions, or a line of the trailer
inline constexpr std::size_t kMaxTrailer = 8 * 1024;

class RequestReader {
 public:
  enum class State { kHead, kBody, kDone, kFailed };
  // take_body gets the pieces of the body as they come.
  explicit RequestReader(std::function<void(std::string_view)> take_body)
      : take_body_(std::move(take_body)) {}

  // Uses up bytes from the front, at most to the end of the request, and says how many. The rest
  // comes again with more behind it. Stops when the head is complete, so that the caller can look
  // at it before the body comes.
  std::size_t read(std::string_view bytes);

  State state() const { return state_; }
  // Of a failed request: 400, 414, 431, 501 or 505, and what is wrong with it. Nothing can be read
  // after it.
  int status() const { return status_; }
  const std::string& problem() const { return problem_; }

  // From kBody on. Without id, client, local and received, which the caller knows.
  Request& request() { return request_; }
  bool is_head() const { return request_.head_only; }  // no body goes back
  bool is_http_1_0() const { return is_http_1_0_; }    // no chunks go back
  bool keep_alive() const { return keep_alive_; }
  bool expects_continue() const { return expects_continue_; }
  bool is_chunked() const { return chunked_; }
  std::uint64_t content_length() const { return content_length_; }  // 0 where it is chunked

 private:
  enum class Chunk { kSize, kData, kEnd, kTrailer };
  struct Head;

  void fail(int status, std::string problem);
  bool check_bytes(std::string_view bytes);
  std::size_t read_head(std::string_view bytes);
  void take_head(std::string_view head);
  bool take_framing(const Head& head);
  bool take_fields(const Head& head);
  bool take_target(const Head& head);
  std::size_t read_body(std::string_view bytes);
  std::size_t read_chunk(std::string_view bytes);
  void take_chunk_line(std::string_view line);

  std::function<void(std::string_view)> take_body_;
  State state_ = State::kHead;
  int status_ = 0;
  std::string problem_;
  Request request_;
  std::size_t checked_ = 0;   // bytes of the head that are known to be well-formed
  std::size_t line_end_ = 0;  // of the request line, once it is complete
  bool is_http_1_0_ = false, keep_alive_ = true, expects_continue_ = false, chunked_ = false;
  std::uint64_t content_length_ = 0, left_ = 0;  // left: of the body, or of the chunk
  Chunk chunk_ = Chunk::kSize;
  std::size_t trailer_ = 0;
};

}  // namespace blip::server
