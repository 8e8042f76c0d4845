// HTTP/1.1 over Boost.Asio: one thread of I/O for all connections, which does nothing else, so that
// a slow client costs a little memory, not a thread, and a question for the server's health never
// waits.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace blip::server {

class MemoryBudget;
class BodyMemory;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start);

struct Request {
  std::string id;          // ours, or the client's X-Request-Id where that is short and harmless
  std::string method;      // HEAD arrives as GET; the connection leaves the body out
  bool head_only = false;  // it was HEAD: what GET would take away stays
  std::string path;        // without its escapes
  std::string client;      // address
  std::string local;       // the address of ours that the client connected to
  // Whom the client believes to talk to: Host, and the authority of an absolute address, as they
  // came.
  std::vector<std::string> authorities;
  std::vector<std::pair<std::string, std::string>> query;
  std::map<std::string, std::string> headers;  // names in lower case; repeated ones joined by ", "
  std::string body;
  Clock::time_point received;
  // All connections are taken: this one is kept for questions about health.
  bool only_health = false;

  // "" where the header is missing.
  const std::string& header(const std::string& lower_case_name) const;
};

struct Response {
  int status = 200;
  std::string content_type;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// The answer of a request whose client hung up: nothing is sent. Logs and metrics have it.
inline constexpr int kClientGone = 499;

// A request and the one answer it gets, from any thread.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  explicit Exchange(Request received) : request(std::move(received)) {}

  Request request;
  std::shared_ptr<BodyMemory> memory;     // the body's as it arrived, held as long as it is there
  std::shared_ptr<void> unpacked_memory;  // of what it was unpacked to

  // Adds to every answer's headers; set before the first one.
  void set_finisher(std::function<Response(Response)> finish) { finish_ = std::move(finish); }
  // The whole answer. The first answer counts; later ones are dropped.
  void respond(Response response);
  // An answer in pieces: headers now, then write() and end(). A client that leaves megabytes unread
  // is given up.
  void start_stream(Response head);
  bool write(std::string_view piece);  // false: the client is gone
  void end();
  // The client hung up while we work on its answer.
  bool client_gone() const { return gone_; }

 private:
  friend class HttpConnection;
  void wake_locked();

  std::mutex mutex_;
  // Tells the connection's thread; null once the connection is finished with.
  std::function<void()> wake_;
  bool woken_ = false, streaming_ = false, ended_ = false, overflown_ = false;
  std::function<Response(Response)> finish_;
  std::optional<Response> response_;
  std::string pending_;  // of a stream: written, not yet sent
  std::atomic<bool> gone_{false};
};

using ExchangePtr = std::shared_ptr<Exchange>;

// An exchange that is over, for logs and metrics.
struct Served {
  std::string id, client, method, path;
  Clock::time_point received;
  int status = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;
};

// Connections of one client where HttpOptions does not say.
inline constexpr unsigned kDefaultPerClient = 128;

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0 = any free one
  std::size_t max_body = std::size_t{64} << 20;
  MemoryBudget* memory = nullptr;  // bodies that do not fit get 503; null = no limit
  // Connections at a time. Over it the oldest idle or slowest one makes room for a new one.
  unsigned max_connections = 512;
  // Of one client: an IPv4 address, or the first 64 bits of an IPv6 one; 0 = no limit. Without a
  // value kDefaultPerClient, and no limit for clients on this machine, one of which may be a proxy.
  std::optional<unsigned> max_per_client;
  // from a request's first byte (or the connection) to the end of its headers
  double header_seconds = 10;
  double body_seconds = 300;  // from the headers to the end of the body
  double idle_seconds = 60;   // between requests
  double min_rate =
      1024;  // bytes per second that a body comes and an answer goes at least, over 10 s; 0 = any
};

class HttpServer {
 public:
  struct Hooks {
    // Headers are in: an answer here refuses the request before its body is kept. May change the
    // request.
    std::function<std::optional<Response>(Request&)> accept;
    // The request is whole. Called on the I/O thread: must not block.
    std::function<void(const ExchangePtr&)> handle;
    // What the server itself answers: what is wrong with the HTTP (400, 414, 431, 501, 505), 408,
    // 413 and 503.
    std::function<Response(const Request&, int status, const std::string& detail)> failure;
    // The connection is done with the exchange.
    std::function<void(const Served&)> finished;
  };

  // Takes the address. Throws Error(kIo) where it cannot be had.
  HttpServer(const HttpOptions& options, Hooks hooks);
  ~HttpServer();  // as stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Serves: from now on the hooks are called. Throws Error(kIo).
  void start();

  int port() const;
  // Connections that may be open at a time: max_connections, or what the limit of open files
  // leaves.
  unsigned max_connections() const;
  // Exchanges that are not finished, those whose body still arrives included.
  int open_exchanges() const;
  // Those among them that were not refused: what is worth waiting for.
  int accepted_exchanges() const;
  // Stops listening, closes connections without a request, and every other one after its answer.
  void drain();
  // Closes all connections and ends the I/O thread. Answers that come later go nowhere.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blip::server
