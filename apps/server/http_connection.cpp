#include "server/http_connection.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cmath>
#include <ctime>

#include "base/ascii.h"
#include "server/memory_budget.h"

namespace blip::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t kMaxAhead = 64 * 1024;  // of the next requests, while one is answered
constexpr int kReadsInTurn = 4;               // before other connections get theirs
constexpr std::uint64_t kReusableBody =
    std::uint64_t{1} << 20;  // a refused body that is read to keep the connection
constexpr std::size_t kReserved = std::size_t{1} << 20;  // of an announced body, before it comes
constexpr double kRateSeconds = 10;
constexpr double kLingerSeconds = 2;  // without a byte
constexpr double kStalledSeconds = 5;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool harmless_id(const std::string& id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string text_of(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  return address.to_string();
}

// A home or a server has at least 64 bits of IPv6 addresses to itself.
std::string key_of(const asio::ip::address& address) {
  if (!address.is_v6() || address.to_v6().is_v4_mapped()) return text_of(address);
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
  return asio::ip::address_v6(bytes).to_string();
}

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Answer";
  }
}

// Only the I/O thread writes answers.
const std::string& date_now() {
  static std::time_t last = 0;
  static std::string text;
  if (const std::time_t now = std::time(nullptr); now != last) {
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm utc = {};
    gmtime_r(&now, &utc);
    char date[64];
    std::snprintf(date, sizeof date, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[utc.tm_wday],
                  utc.tm_mday, kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                  utc.tm_sec);
    text = date;
    last = now;
  }
  return text;
}

// A value that came from a client must not start a header of its own.
void add_header(std::string& head, std::string_view name, std::string_view value) {
  head += name;
  head += ": ";
  for (const char c : value) head += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  head += "\r\n";
}

}  // namespace

HttpConnection::HttpConnection(HttpShared& shared, asio::ip::tcp::socket socket, bool only_health)
    : shared_(shared), socket_(std::move(socket)), only_health_(only_health), since_(Clock::now()) {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  const auto remote = socket_.remote_endpoint(ignored).address();
  client_ = text_of(remote);
  client_key_ = key_of(remote);
  local_ = text_of(socket_.local_endpoint(ignored).address());
}

// No exception may leave a connection's step: out of memory is what is left, and it costs this
// connection alone.
template <class Step>
void HttpConnection::guarded(Step step) {
  if (state_ == State::kClosed) return;
  try {
    step();
  } catch (...) {
    close();
  }
}

void HttpConnection::start() {
  reader_ = std::make_unique<RequestReader>([this](std::string_view piece) { take_body(piece); });
  wait_for_bytes();
}

void HttpConnection::set_state(State state) {
  state_ = state;
  since_ = Clock::now();
}

void HttpConnection::close() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  state_ = State::kClosed;
  error_code ignored;
  socket_.close(ignored);
  finish_exchange();
  shared_.closed(*this);
}

void HttpConnection::close_if_idle() {
  if (state_ == State::kIdle || (state_ == State::kHead && !exchange_)) close();
}

void HttpConnection::wait_for_bytes() {
  if (waiting_ || state_ == State::kClosed) return;
  if (state_ == State::kAnswering && input_.size() >= kMaxAhead) return;
  waiting_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](const error_code& error) {
                       self->waiting_ = false;
                       if (error) return self->close();
                       self->guarded([&] { self->on_bytes(); });
                     });
}

void HttpConnection::on_bytes() {
  for (int i = 0; i < kReadsInTurn && state_ != State::kClosed; ++i) {
    error_code error;
    const std::size_t size = socket_.read_some(asio::buffer(shared_.scratch), error);
    if (error == asio::error::would_block || error == asio::error::try_again) break;
    if (error == asio::error::eof) return on_end_of_input();
    if (error) return close();
    feed(std::string_view(shared_.scratch).substr(0, size));
    if (size < shared_.scratch.size()) break;
    if (state_ == State::kAnswering && input_.size() >= kMaxAhead) break;
  }
  wait_for_bytes();
}

// The work for a client that sends no more is given up, as most such clients have gone. One that
// only shut down its side gets what is ready in time.
void HttpConnection::on_end_of_input() {
  if (!exchange_ || (state_ == State::kBody && !dropping_)) return close();
  keep_alive_ = false;
  exchange_->gone_ = true;
}

void HttpConnection::feed(std::string_view bytes) {
  received_.bytes += bytes.size();
  if (state_ == State::kLingering) return;
  if (state_ == State::kIdle) set_state(State::kHead);
  if (input_.empty()) {
    bytes.remove_prefix(consume(bytes));
    if (state_ != State::kLingering && state_ != State::kClosed) input_.assign(bytes);
  } else {
    input_.append(bytes);
    input_.erase(0, consume(input_));
  }
  // Empty lines between requests begin none.
  if (state_ == State::kHead && input_.empty()) state_ = State::kIdle;
}

// Reads requests up to the first one that must be answered before the next.
std::size_t HttpConnection::consume(std::string_view bytes) {
  std::size_t used = 0;
  while (state_ == State::kHead || state_ == State::kBody) {
    const std::size_t some = reader_->read(bytes.substr(used));
    used += some;
    if (reader_->state() == RequestReader::State::kFailed) {
      fail(reader_->status(), reader_->problem());
      break;
    }
    if (state_ == State::kHead && reader_->state() != RequestReader::State::kHead) head_complete();
    if (state_ == State::kBody && reader_->state() == RequestReader::State::kDone) body_complete();
    // It was refused long ago.
    if (state_ == State::kAnswering && answered_ && keep_alive_) begin_request();
    if (some == 0) break;
  }
  return used;
}

void HttpConnection::make_exchange(Request request) {
  request.client = client_;
  request.local = local_;
  request.only_health = only_health_;
  request.received = Clock::now();
  const std::string& given = request.header("x-request-id");
  request.id = harmless_id(given) ? given : shared_.id_prefix + std::to_string(++shared_.next_id);
  served_ = {request.id, request.client, request.method, request.path, request.received};
  exchange_ = std::make_shared<Exchange>(std::move(request));
  exchange_->wake_ = [weak = weak_from_this(), &io = shared_.io] {
    asio::post(io, [weak] {
      if (const auto self = weak.lock()) self->guarded([&] { self->exchange_ready(); });
    });
  };
  ++shared_.open;
}

void HttpConnection::head_complete() {
  set_state(State::kBody);
  fresh_ = false;
  received_ = {since_, 0};
  keep_alive_ = reader_->keep_alive();
  Request request = std::move(reader_->request());
  request.client = client_;
  request.local = local_;
  make_exchange(std::move(request));
  const std::uint64_t announced = reader_->content_length();
  const bool small =
      !reader_->is_chunked() && announced <= kReusableBody && !reader_->expects_continue();
  if (auto refusal = shared_.hooks.accept(exchange_->request))
    return refuse(std::move(*refusal), small);
  if (announced > shared_.options.max_body) {
    const std::string limit = std::to_string(shared_.options.max_body);
    return refuse(
        shared_.hooks.failure(exchange_->request, 413,
                              "the body is larger than " + limit + " bytes, this server's limit"),
        false);
  }
  accepted_ = true;
  ++shared_.accepted;
  exchange_->request.body.reserve(
      static_cast<std::size_t>(std::min<std::uint64_t>(announced, kReserved)));
  if (reader_->expects_continue() && reader_->state() == RequestReader::State::kBody) {
    // A few bytes always fit into the buffer of a socket that has nothing to send.
    error_code ignored;
    written_ += socket_.write_some(asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n")),
                                   ignored);
  }
}

// Answers at once; what is left of the body is read and dropped.
void HttpConnection::refuse(Response response, bool keep_connection) {
  dropping_ = true;
  keep_alive_ = keep_alive_ && keep_connection;
  if (accepted_) --shared_.accepted;
  accepted_ = false;
  std::string().swap(exchange_->request.body);
  exchange_->memory.reset();
  exchange_->respond(std::move(response));
}

// The request cannot be read to its end.
void HttpConnection::fail(int status, const std::string& problem) {
  fresh_ = false;
  if (!exchange_) make_exchange({});
  body_done_ = true;  // none of what comes belongs to a request
  refuse(shared_.hooks.failure(exchange_->request, status, problem), false);
  set_state(State::kAnswering);
}

void HttpConnection::take_body(std::string_view piece) {
  served_.bytes_in += piece.size();
  if (dropping_) return;
  std::string& body = exchange_->request.body;
  const Request& request = exchange_->request;
  if (body.size() + piece.size() > shared_.options.max_body) {
    const std::string limit = std::to_string(shared_.options.max_body);
    return refuse(
        shared_.hooks.failure(request, 413,
                              "the body is larger than " + limit + " bytes, this server's limit"),
        false);
  }
  if (!keep_body(body.size() + piece.size()))
    return refuse(
        shared_.hooks.failure(request, 503, "too many large requests at a time; try again soon"),
        false);
  body.append(piece);
}

// Takes memory for a body of this size.
bool HttpConnection::keep_body(std::size_t size) {
  if (shared_.options.memory == nullptr) return true;
  if (!exchange_->memory) exchange_->memory = std::make_shared<BodyMemory>(*shared_.options.memory);
  return exchange_->memory->reach(size);
}

void HttpConnection::body_complete() {
  body_done_ = true;
  set_state(State::kAnswering);
  if (!dropping_) shared_.hooks.handle(exchange_);
}

void HttpConnection::exchange_ready() {
  if (!exchange_) return;
  bool over = false;
  {
    const std::lock_guard lock(exchange_->mutex_);
    exchange_->woken_ = false;
    over = exchange_->overflown_ ||
           (exchange_->response_ && exchange_->response_->status == kClientGone);
    if (!over && !answering_ && exchange_->response_)
      begin_answer(*exchange_->response_, exchange_->streaming_);
  }
  if (over) return close();
  if (answering_ && !writing_ && (offset_ < head_.size() + body_.size() || take_stream_chunk()))
    write_some();
}

void HttpConnection::begin_answer(Response& response, bool streaming) {
  answering_ = true;
  streaming_ = streaming;
  served_.status = response.status;
  const bool bodiless = response.status == 204 || response.status == 304;
  chunked_ = streaming && !reader_->is_http_1_0();
  keep_alive_ = keep_alive_ && !shared_.draining && !only_health_ && (!streaming || chunked_);
  head_ = "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) + "\r\n";
  add_header(head_, "Date", date_now());
  if (!response.content_type.empty()) add_header(head_, "Content-Type", response.content_type);
  for (const auto& [name, value] : response.headers)
    if (name != "Connection") add_header(head_, name, value);
  if (!keep_alive_)
    add_header(head_, "Connection", "close");
  else if (reader_->is_http_1_0())
    add_header(head_, "Connection", "keep-alive");
  if (chunked_)
    add_header(head_, "Transfer-Encoding", "chunked");
  else if (!streaming && !bodiless)
    add_header(head_, "Content-Length", std::to_string(response.body.size()));
  head_ += "\r\n";
  if (!streaming && !reader_->is_head() && !bodiless) body_ = std::move(response.body);
  served_.bytes_out = body_.size();
  last_piece_ = !streaming || reader_->is_head();
  offset_ = 0;
  sent_ = {Clock::now(), written_};
}

// What the stream has for us: false where it is nothing yet.
bool HttpConnection::take_stream_chunk() {
  if (last_piece_ || !streaming_) return false;
  std::string piece;
  {
    const std::lock_guard lock(exchange_->mutex_);
    piece.swap(exchange_->pending_);
    last_piece_ = exchange_->ended_;
  }
  if (piece.empty() && !last_piece_) return false;
  served_.bytes_out += piece.size();
  head_.clear();
  body_ = std::move(piece);
  offset_ = 0;
  sent_ = {Clock::now(), written_};
  if (!chunked_) return true;
  if (!body_.empty()) {
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", body_.size());
    head_ = size;
    body_ += "\r\n";
  }
  if (last_piece_) body_ += "0\r\n\r\n";
  return true;
}

void HttpConnection::write_some() {
  writing_ = true;
  const std::string_view head(head_), body(body_);
  const std::size_t of_head = std::min(offset_, head.size());
  const std::array<asio::const_buffer, 2> left{asio::buffer(head.substr(of_head)),
                                               asio::buffer(body.substr(offset_ - of_head))};
  socket_.async_write_some(
      left, [self = shared_from_this()](const error_code& error, std::size_t size) {
        self->writing_ = false;
        if (error) return self->close();
        self->guarded([&] {
          self->written_ += size;
          self->offset_ += size;
          const bool more = self->offset_ < self->head_.size() + self->body_.size();
          if (more || self->take_stream_chunk())
            self->write_some();
          else if (self->last_piece_)
            self->answer_complete();
        });
      });
}

void HttpConnection::answer_complete() {
  answered_ = true;
  answering_ = false;
  std::string().swap(body_);
  std::string().swap(head_);
  offset_ = 0;
  finish_exchange();
  if (!keep_alive_) return linger();
  if (body_done_) next_request();
}

void HttpConnection::begin_request() {
  reader_ = std::make_unique<RequestReader>([this](std::string_view piece) { take_body(piece); });
  dropping_ = body_done_ = answered_ = streaming_ = last_piece_ = false;
  keep_alive_ = true;
  set_state(State::kHead);
}

// What came ahead is read first.
void HttpConnection::next_request() {
  begin_request();
  input_.erase(0, consume(input_));
  if (state_ == State::kHead && input_.empty()) state_ = State::kIdle;
  if (input_.empty()) std::string().swap(input_);
  wait_for_bytes();
}

void HttpConnection::linger() {
  set_state(State::kLingering);
  received_ = {since_, 0};
  std::string().swap(input_);
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  wait_for_bytes();
}

void HttpConnection::finish_exchange() {
  if (!exchange_) return;
  {
    const std::lock_guard lock(exchange_->mutex_);
    exchange_->wake_ = nullptr;
    if (!answered_) exchange_->gone_ = true;
  }
  if (served_.status == 0) served_.status = kClientGone;
  exchange_.reset();
  --shared_.open;
  if (std::exchange(accepted_, false)) --shared_.accepted;
  shared_.hooks.finished(served_);
}

bool HttpConnection::too_slow(Rate& rate, Clock::time_point now, std::uint64_t bytes) const {
  const double seconds = seconds_between(rate.since, now);
  if (seconds < kRateSeconds) return false;
  const bool slow = static_cast<double>(bytes - rate.bytes) < shared_.options.min_rate * seconds;
  rate = {now, bytes};
  return slow;
}

// What the kernel holds for the client is not with it yet.
bool HttpConnection::reads_too_slowly(Clock::time_point now) {
  if (!writing_) return false;
  int unsent = 0;
  if (ioctl(socket_.native_handle(), SIOCOUTQ, &unsent) != 0) unsent = 0;
  return too_slow(sent_, now, written_ - static_cast<std::uint64_t>(unsent));
}

void HttpConnection::tick(Clock::time_point now) {
  guarded([&] {
    const HttpOptions& options = shared_.options;
    const double age = seconds_between(since_, now);
    if (state_ == State::kIdle && age > (fresh_ ? options.header_seconds : options.idle_seconds))
      return close();
    if (state_ == State::kHead && age > options.header_seconds)
      return fail(408, "the headers took longer than " +
                           std::to_string(std::lround(options.header_seconds)) + " s");
    const auto slow_input = [&] {
      Rate window{received_.since, 0};
      const bool slow = too_slow(window, now, received_.bytes);
      if (window.since != received_.since) received_ = {now, 0};
      return slow;
    };
    if (state_ == State::kBody && (age > options.body_seconds || slow_input())) {
      if (answering_ || answered_) return close();
      return fail(408, "the body comes too slowly");
    }
    if (state_ == State::kLingering && (age > options.body_seconds || slow_input() ||
                                        (received_.bytes == 0 && age > kLingerSeconds)))
      return close();
    if (reads_too_slowly(now)) close();
  });
}

std::optional<std::pair<int, double>> HttpConnection::dispensable(Clock::time_point now) const {
  const double age = seconds_between(since_, now);
  if (state_ == State::kIdle || state_ == State::kLingering) return std::pair{0, -age};
  if (state_ == State::kHead || (state_ == State::kBody && !answering_)) {
    // The slowest of those that had a second, then the oldest of the others.
    const double bytes =
        static_cast<double>(state_ == State::kHead ? input_.size() : served_.bytes_in);
    return age > 1 ? std::pair{1, bytes / age} : std::pair{2, -age};
  }
  const double stalled = seconds_between(sent_.since, now);
  if (writing_ && stalled > kStalledSeconds) return std::pair{3, -stalled};
  return std::nullopt;
}

}  // namespace blip::server
