#include "server/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "blip/error.h"
#include "server/memory_budget.h"

namespace blip::server {
namespace {

constexpr std::size_t kStreamBlock = 16 * 1024;
constexpr std::size_t kConnectionMemory = 64 * 1024;  // request line and headers must fit; also the size of an upload's pieces
// A refused body is read and dropped up to here, so that the client gets to read the answer instead of a reset connection.
constexpr std::uint64_t kDroppedBody = std::uint64_t{2} << 30;
constexpr int kBacklog = 256;
// Of a stream whose client does not read it. Longer than any that ends: whoever lets so much lie is as good as gone.
constexpr std::size_t kMaxUnsent = std::size_t{8} << 20;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

bool harmless_id(const std::string& id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

std::string address_of(MHD_Connection* connection) {
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  char host[NI_MAXHOST] = "";
  if (info != nullptr && info->client_addr != nullptr) {
    const socklen_t size = info->client_addr->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    if (getnameinfo(info->client_addr, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0) return "";
  }
  return host;
}

struct AddressList {
  addrinfo* first = nullptr;
  ~AddressList() {
    if (first != nullptr) freeaddrinfo(first);
  }
};

// A listening socket; throws Error(kIo).
int listen_on(const std::string& host, int port, int& bound_port) {
  const std::string where = host + ":" + std::to_string(port);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  AddressList addresses;
  if (const int failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &addresses.first); failed != 0)
    throw Error(ErrorCode::kIo, "cannot listen on " + where + ": " + gai_strerror(failed) + "; check --host");
  const addrinfo& address = *addresses.first;
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, kBacklog) != 0) {
    const std::string reason = std::strerror(errno);
    if (fd >= 0) close(fd);
    throw Error(ErrorCode::kIo, "cannot listen on " + where + ": " + reason + "; choose another with --host and --port");
  }
  sockaddr_storage bound = {};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  bound_port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                                 : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  return fd;
}

void add_headers(MHD_Response* to, const Response& response) {
  if (!response.content_type.empty()) MHD_add_response_header(to, "Content-Type", response.content_type.c_str());
  for (const auto& [name, value] : response.headers) MHD_add_response_header(to, name.c_str(), value.c_str());
}

}  // namespace

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

const std::string& Request::header(const std::string& name) const {
  static const std::string none;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

void Exchange::resume_locked() {
  if (!suspended_) return;
  suspended_ = false;
  MHD_resume_connection(connection_);
}

void Exchange::respond(Response response) {
  const std::lock_guard lock(mutex_);
  if (response_) return;
  status_ = response.status;
  response_ = finish_ ? finish_(std::move(response)) : std::move(response);
  resume_locked();
}

void Exchange::start_stream(Response head) {
  const std::lock_guard lock(mutex_);
  if (response_) return;
  streaming_ = true;
  status_ = head.status;
  response_ = finish_ ? finish_(std::move(head)) : std::move(head);
  resume_locked();
}

bool Exchange::write(std::string_view piece) {
  const std::lock_guard lock(mutex_);
  if (dispatched_ && connection_ == nullptr) return false;
  if (pending_.size() + piece.size() > kMaxUnsent) return false;
  pending_ += piece;
  resume_locked();
  return true;
}

void Exchange::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  resume_locked();
}

bool Exchange::client_gone() {
  const std::lock_guard lock(mutex_);
  if (connection_ == nullptr) return true;
  if (!suspended_) return false;  // libmicrohttpd has the socket and will notice
  const auto* info = MHD_get_connection_info(connection_, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (info == nullptr) return false;
  char byte = 0;
  const ssize_t got = recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

// Memory of a body.
class BodyMemory {
 public:
  explicit BodyMemory(MemoryBudget& budget) : share_(budget.empty(MemoryKind::kBodies)) {}
  bool reach(std::size_t size) {
    const std::size_t wanted = MemoryBudget::kBodyCopies * size;
    return wanted <= share_.bytes() || share_.grow(wanted - share_.bytes());
  }

 private:
  MemoryBudget::Share share_;
};

// One request while libmicrohttpd delivers it.
struct HttpServer::Upload {
  ExchangePtr exchange;
  std::optional<Response> refusal;  // the body is dropped and this is the answer
  std::uint64_t dropped = 0;
  bool answered = false;
};

// Libmicrohttpd answers to a request line that its memory holds, but not together with what it makes of its parameters, never. So those with more than
// any request of ours has are answered here, before it takes them apart, on the socket itself.
constexpr std::size_t kMaxTarget = 16 * 1024, kMaxParameters = 400;

std::string target_answer(const std::string& id) {
  const std::string problem =
      R"({"type":"urn:blip:problem:invalid_request","title":"The request makes no sense","status":400,"detail":"the address has more than 16384 bytes )"
      R"(or 400 parameters; send them in the body","code":"invalid_request","request_id":")" + id + "\"}\n";
  return "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nX-Request-Id: " + id + "\r\nConnection: close\r\nContent-Length: " +
         std::to_string(problem.size()) + "\r\n\r\n" + problem;
}

bool is_too_long(std::string_view target) {
  return target.size() > kMaxTarget || std::count(target.begin(), target.end(), '&') >= static_cast<std::ptrdiff_t>(kMaxParameters);
}

struct HttpServer::Callbacks {
  // Marks a request that has its answer.
  static void* refused() {
    static char mark;
    return &mark;
  }

  static void* target(void* cls, const char* target, MHD_Connection* connection) {
    auto& server = *static_cast<HttpServer*>(cls);
    const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == nullptr || !is_too_long(target)) return nullptr;
    try {
      const std::string answer = target_answer(server.id_prefix_ + std::to_string(++server.next_id_));
      send(info->connect_fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);  // it fits the socket's buffer, or nobody listens
    } catch (...) {  // as in receive(); the connection closes without an answer
    }
    ::shutdown(info->connect_fd, SHUT_WR);
    return refused();
  }

  static MHD_Result receive(void* cls, MHD_Connection* connection, const char* url, const char* method, const char*, const char* data,
                            std::size_t* size, void** state) {
    auto& server = *static_cast<HttpServer*>(cls);
    if (*state == refused()) return MHD_NO;
    try {
      if (*state == nullptr) {
        *state = start(server, connection, url, method);
        auto& upload = *static_cast<Upload*>(*state);
        // A client that asks first whether it may send is told no at once.
        const bool asks = !upload.exchange->request.header("expect").empty();
        return upload.refusal && asks ? static_cast<MHD_Result>(server.answer(connection, upload)) : MHD_YES;
      }
      return static_cast<MHD_Result>(server.receive(connection, *static_cast<Upload*>(*state), data, size));
    } catch (...) {  // no exception may cross C; out of memory is what is left
      return MHD_NO;
    }
  }

  static Upload* start(HttpServer& server, MHD_Connection* connection, const char* url, const char* method) {
    Request request;
    request.method = std::strcmp(method, "HEAD") == 0 ? "GET" : method;
    request.path = url;
    request.client = address_of(connection);
    request.received = Clock::now();
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, &header, &request);
    MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, &argument, &request);
    const std::string& given = request.header("x-request-id");
    request.id = harmless_id(given) ? given : server.id_prefix_ + std::to_string(++server.next_id_);
    auto upload = std::make_unique<Upload>();
    auto refusal = server.hooks_.accept(request);
    upload->exchange = std::make_shared<Exchange>(std::move(request));
    upload->exchange->connection_ = connection;
    ++server.open_;
    if (refusal) server.refuse(*upload, std::move(*refusal));
    const std::string& length = upload->exchange->request.header("content-length");
    const unsigned long long announced = std::strtoull(length.c_str(), nullptr, 10);  // libmicrohttpd has checked it
    if (!upload->refusal && announced > server.options_.max_body) server.refuse_large(*upload);
    return upload.release();
  }

  static MHD_Result header(void* cls, MHD_ValueKind, const char* key, std::size_t key_size, const char* value, std::size_t value_size) {
    auto& request = *static_cast<Request*>(cls);
    request.headers[lower({key, key_size})] = value == nullptr ? "" : std::string(value, value_size);
    return MHD_YES;
  }
  static MHD_Result argument(void* cls, MHD_ValueKind, const char* key, std::size_t key_size, const char* value, std::size_t value_size) {
    auto& request = *static_cast<Request*>(cls);
    request.query.emplace_back(std::string(key, key_size), value == nullptr ? "" : std::string(value, value_size));
    return MHD_YES;
  }

  static void completed(void* cls, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
    if (*state == nullptr || *state == refused()) return;
    const std::unique_ptr<Upload> upload(static_cast<Upload*>(*state));
    auto& server = *static_cast<HttpServer*>(cls);
    {
      const std::lock_guard lock(upload->exchange->mutex_);
      upload->exchange->connection_ = nullptr;
    }
    server.hooks_.finished(*upload->exchange);
    --server.open_;
  }

  static ssize_t read_stream(void* cls, std::uint64_t, char* to, std::size_t room) {
    Exchange& exchange = **static_cast<ExchangePtr*>(cls);
    const std::lock_guard lock(exchange.mutex_);
    if (!exchange.pending_.empty()) {
      const std::size_t size = std::min(room, exchange.pending_.size());
      std::memcpy(to, exchange.pending_.data(), size);
      exchange.pending_.erase(0, size);
      exchange.bytes_sent_ += size;
      return static_cast<ssize_t>(size);
    }
    if (exchange.ended_) return MHD_CONTENT_READER_END_OF_STREAM;
    if (exchange.connection_ != nullptr) {
      exchange.suspended_ = true;
      MHD_suspend_connection(exchange.connection_);
    }
    return 0;
  }
  // An escaped zero would end the C string early and turn one path into another: such text stays as it was sent.
  static std::size_t unescape(void*, MHD_Connection*, char* text) {
    return std::strstr(text, "%00") != nullptr ? std::strlen(text) : MHD_http_unescape(text);
  }
  static void free_stream(void* cls) { delete static_cast<ExchangePtr*>(cls); }
};

HttpServer::HttpServer(const HttpOptions& options, Hooks hooks) : options_(options), hooks_(std::move(hooks)) {
  std::random_device random;
  char prefix[16];
  std::snprintf(prefix, sizeof prefix, "%08x-", static_cast<unsigned>(random()));
  id_prefix_ = prefix;
  listening_ = listen_on(options.host, options.port, port_);
}

void HttpServer::start() {
  daemon_ = MHD_start_daemon(
      MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, &Callbacks::receive, this,
      MHD_OPTION_LISTEN_SOCKET, listening_, MHD_OPTION_CONNECTION_LIMIT, options_.max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
      options_.idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory, MHD_OPTION_NOTIFY_COMPLETED, &Callbacks::completed,
      this, MHD_OPTION_UNESCAPE_CALLBACK, &Callbacks::unescape, nullptr, MHD_OPTION_URI_LOG_CALLBACK,
      &Callbacks::target, this, MHD_OPTION_END);
  if (daemon_ == nullptr) throw Error(ErrorCode::kIo, "cannot start the HTTP server: too few file descriptors or too little memory");
  listening_ = -1;
}

HttpServer::~HttpServer() {
  if (listening_ >= 0) close(listening_);
  if (daemon_ == nullptr) return;
  stop_listening();
  MHD_stop_daemon(daemon_);
}

void HttpServer::stop_listening() {
  if (const MHD_socket fd = MHD_quiesce_daemon(daemon_); fd != MHD_INVALID_SOCKET) close(fd);
}

void HttpServer::refuse(Upload& upload, Response response) {
  upload.refusal = std::move(response);
  std::string().swap(upload.exchange->request.body);
  upload.exchange->memory.reset();
}

void HttpServer::refuse_large(Upload& upload) {
  refuse(upload, hooks_.failure(upload.exchange->request, 413,
                                "the body is larger than " + std::to_string(options_.max_body) + " bytes, this server's limit"));
}

// Takes memory for a body of this size.
bool HttpServer::keep(Exchange& exchange, std::size_t size) const {
  if (options_.memory == nullptr) return true;
  if (!exchange.memory) exchange.memory = std::make_shared<BodyMemory>(*options_.memory);
  return exchange.memory->reach(size);
}

int HttpServer::receive(MHD_Connection* connection, Upload& upload, const char* data, std::size_t* size) {
  Request& request = upload.exchange->request;
  if (*size == 0) return answer(connection, upload);
  const std::size_t piece = *size;
  *size = 0;
  if (ms_since(request.received) > options_.receive_seconds * 1000.0) {
    // Too slow, or endless: no answer could be sent before the rest of the body.
    return MHD_NO;
  }
  if (upload.refusal) return (upload.dropped += piece) > kDroppedBody ? MHD_NO : MHD_YES;
  if (request.body.size() + piece > options_.max_body) {
    refuse_large(upload);
  } else if (!keep(*upload.exchange, request.body.size() + piece)) {
    refuse(upload, hooks_.failure(request, 503, "too many large requests at a time; try again soon"));
  } else {
    request.body.append(data, piece);
    upload.exchange->bytes_received_ += piece;
  }
  return MHD_YES;
}

int HttpServer::answer(MHD_Connection* connection, Upload& upload) {
  Exchange& exchange = *upload.exchange;
  if (upload.answered) return MHD_YES;
  if (upload.refusal) {
    exchange.respond(std::move(*upload.refusal));
  } else if (!exchange.dispatched_) {
    {
      const std::lock_guard lock(exchange.mutex_);
      exchange.dispatched_ = true;
    }
    hooks_.handle(upload.exchange);
  }
  {
    const std::lock_guard lock(exchange.mutex_);
    if (!exchange.response_) {
      exchange.suspended_ = true;
      MHD_suspend_connection(connection);
      return MHD_YES;
    }
  }
  // Unlocked: once set, the response stays as it is, and libmicrohttpd takes its own lock before ours when it reads a stream.
  upload.answered = true;
  const Response& response = *exchange.response_;
  MHD_Response* out = nullptr;
  if (exchange.streaming_) {
    out = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kStreamBlock, &Callbacks::read_stream, new ExchangePtr(upload.exchange),
                                            &Callbacks::free_stream);
  } else {
    exchange.bytes_sent_ = response.body.size();
    out = MHD_create_response_from_buffer(response.body.size(), const_cast<char*>(response.body.data()), MHD_RESPMEM_MUST_COPY);
  }
  if (out == nullptr) return MHD_NO;
  add_headers(out, response);
  const int queued = MHD_queue_response(connection, static_cast<unsigned>(response.status), out);
  MHD_destroy_response(out);
  return queued;
}

}  // namespace blip::server
