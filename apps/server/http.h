// HTTP/1.1 over libmicrohttpd: one thread of I/O for all connections, so that a slow client costs a buffer, not a thread.
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

struct MHD_Connection;
struct MHD_Daemon;

namespace blip::server {

class MemoryBudget;
class BodyMemory;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start);

struct Request {
  std::string id;      // ours, or the client's X-Request-Id where that is short and harmless
  std::string method;  // HEAD arrives as GET; libmicrohttpd leaves the body out
  std::string path;
  std::string client;  // address
  std::vector<std::pair<std::string, std::string>> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  Clock::time_point received;

  // "" where the header is missing.
  const std::string& header(const std::string& lower_case_name) const;
};

struct Response {
  int status = 200;
  std::string content_type;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

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
  // An answer in pieces: headers now, then write() and end().
  void start_stream(Response head);
  bool write(std::string_view piece);  // false: the client is gone, or reads nothing
  void end();
  // The client hung up while we work on its answer.
  bool client_gone();

  int status() const { return status_; }
  std::size_t bytes_sent() const { return bytes_sent_; }
  std::size_t bytes_received() const { return bytes_received_; }  // of the body, as it came

 private:
  friend class HttpServer;
  void resume_locked();

  std::mutex mutex_;
  MHD_Connection* connection_ = nullptr;  // null once the connection is finished with
  bool dispatched_ = false, suspended_ = false, streaming_ = false, ended_ = false;
  std::function<Response(Response)> finish_;
  std::optional<Response> response_;
  std::string pending_;  // of a stream: written, not yet sent
  std::atomic<int> status_{0};
  std::atomic<std::size_t> bytes_sent_{0}, bytes_received_{0};
};

using ExchangePtr = std::shared_ptr<Exchange>;

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0 = any free one
  std::size_t max_body = std::size_t{64} << 20;
  MemoryBudget* memory = nullptr;  // bodies that do not fit into it are told 503; null = no limit
  unsigned max_connections = 512;
  unsigned idle_seconds = 30;    // without a byte
  unsigned receive_seconds = 60;  // for a whole request
};

class HttpServer {
 public:
  struct Hooks {
    // Headers are in: an answer here refuses the request before its body is kept. May change the request.
    std::function<std::optional<Response>(Request&)> accept;
    // The request is whole. Called on the I/O thread: must not block.
    std::function<void(const ExchangePtr&)> handle;
    // What the server itself answers: 413 and 503.
    std::function<Response(const Request&, int status, const std::string& detail)> failure;
    // The connection is done with the exchange.
    std::function<void(const Exchange&)> finished;
  };

  // Takes the address. Throws Error(kIo) where it cannot be had.
  HttpServer(const HttpOptions& options, Hooks hooks);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Serves: from now on the hooks are called. Throws Error(kIo).
  void start();

  int port() const { return port_; }
  // Exchanges that are not finished, those whose body still arrives included.
  int open_exchanges() const { return open_; }
  void stop_listening();

 private:
  struct Upload;
  struct Callbacks;  // what libmicrohttpd calls
  int receive(MHD_Connection* connection, Upload& upload, const char* data, std::size_t* size);
  int answer(MHD_Connection* connection, Upload& upload);
  bool keep(Exchange& exchange, std::size_t size) const;
  void refuse(Upload& upload, Response response);
  void refuse_large(Upload& upload);

  HttpOptions options_;
  Hooks hooks_;
  int port_ = 0;
  int listening_ = -1;  // until the daemon has it
  std::atomic<int> open_{0};
  std::atomic<std::uint64_t> next_id_{0};
  std::string id_prefix_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace blip::server
