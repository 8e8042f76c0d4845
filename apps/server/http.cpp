#include "server/http.h"

#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <random>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "blip/error.h"
#include "server/authority.h"
#include "server/http_connection.h"

namespace blip::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 1024;
constexpr std::size_t kMaxUnread = std::size_t{4} << 20;  // of a stream
constexpr unsigned kHealthConnections = 16;  // beside max_connections, where these are all at work
constexpr unsigned kOtherFiles = 64;         // models, history, libraries
constexpr auto kTick = std::chrono::milliseconds(250);
constexpr auto kAcceptPause = std::chrono::milliseconds(50);

struct AddressList {
  addrinfo* first = nullptr;
  ~AddressList() {
    if (first != nullptr) freeaddrinfo(first);
  }
};

// A listening socket; throws Error(kIo).
int listen_on(const std::string& host, int port) {
  const std::string where = host + ":" + std::to_string(port);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  AddressList addresses;
  const int failed =
      getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &addresses.first);
  if (failed != 0)
    throw Error(ErrorCode::kIo,
                "cannot listen on " + where + ": " + gai_strerror(failed) + "; check --host");
  const addrinfo& address = *addresses.first;
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, kBacklog) != 0) {
    const std::string reason = std::generic_category().message(errno);
    if (fd >= 0) close(fd);
    throw Error(ErrorCode::kIo, "cannot listen on " + where + ": " + reason +
                                    "; choose another with --host and --port");
  }
  return fd;
}

// As many connections as wanted, or as the limit of open files leaves.
unsigned affordable_connections(unsigned wanted) {
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return wanted;
  const rlim_t needed = rlim_t{wanted} + kHealthConnections + kOtherFiles;
  if (files.rlim_cur < needed) {
    files.rlim_cur = std::min(needed, files.rlim_max);
    setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
  }
  if (files.rlim_cur >= needed) return wanted;
  const rlim_t others = kHealthConnections + kOtherFiles;
  return files.rlim_cur > others ? static_cast<unsigned>(files.rlim_cur - others) : 1;
}

}  // namespace

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

const std::string& Request::header(const std::string& name) const {
  static const std::string none;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

void Exchange::wake_locked() {
  if (!wake_ || woken_) return;
  woken_ = true;
  wake_();
}

void Exchange::respond(Response response) {
  const std::lock_guard lock(mutex_);
  if (response_) return;
  response_ = finish_ ? finish_(std::move(response)) : std::move(response);
  wake_locked();
}

void Exchange::start_stream(Response head) {
  const std::lock_guard lock(mutex_);
  if (response_) return;
  streaming_ = true;
  response_ = finish_ ? finish_(std::move(head)) : std::move(head);
  wake_locked();
}

bool Exchange::write(std::string_view piece) {
  const std::lock_guard lock(mutex_);
  if (gone_) return false;
  if (pending_.size() + piece.size() > kMaxUnread) {
    gone_ = overflown_ = true;
    std::string().swap(pending_);
  } else {
    pending_ += piece;
  }
  wake_locked();
  return !gone_;
}

void Exchange::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  wake_locked();
}

struct HttpServer::Impl {
  Impl(const HttpOptions& options, Hooks hooks) {
    shared.options = options;
    shared.hooks = std::move(hooks);
    shared.options.max_connections = affordable_connections(options.max_connections);
    std::random_device random;
    char prefix[16];
    std::snprintf(prefix, sizeof prefix, "%08x-", static_cast<unsigned>(random()));
    shared.id_prefix = prefix;
    shared.closed = [this](HttpConnection& connection) { forget(connection); };
    const int fd = listen_on(options.host, options.port);
    sockaddr_storage bound = {};
    socklen_t size = sizeof bound;
    getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
    acceptor.assign(bound.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), fd);
    acceptor.non_blocking(true);
    port = acceptor.local_endpoint().port();
  }

  void run() {
    while (true) {
      try {
        shared.io.run();
        return;
      } catch (
          ...) {  // out of memory between the connections' steps: the clients in question try again
      }
    }
  }

  void accept() {
    acceptor.async_accept([this](const error_code& error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {  // as a rule no file descriptors are left
        make_room("");
        pause.expires_after(kAcceptPause);
        pause.async_wait([this](const error_code& stopped) {
          if (!stopped && acceptor.is_open()) accept();
        });
        return;
      }
      try {
        add(std::move(socket));
      } catch (
          ...) {  // out of memory: this connection is closed, and the next one finds more perhaps
      }
      accept();
    });
  }

  void add(tcp::socket socket) {
    const bool full = connections.size() >= shared.options.max_connections && !make_room("");
    if (full && connections.size() >= shared.options.max_connections + kHealthConnections)
      drop_one_for_health();
    auto connection = std::make_shared<HttpConnection>(shared, std::move(socket), full);
    const std::string& key = connection->client_key();
    if (const unsigned limit = limit_of(key);
        limit > 0 && of_client[key] >= limit && !make_room(key))
      return;
    ++of_client[key];
    connections.emplace(connection.get(), connection);
    connection->start();
    tick();
  }

  unsigned limit_of(const std::string& client) const {
    if (shared.options.max_per_client) return *shared.options.max_per_client;
    const auto address =
        parse_authority(client.find(':') == std::string::npos ? client : "[" + client + "]");
    // The key of ::1 is ::, its first half.
    return client == "::" || (address && is_loopback(*address)) ? 0 : kDefaultPerClient;
  }

  // Closes the connection (of a client, if one is named) that is missed least; false where all are
  // at work.
  bool make_room(const std::string& client) {
    const auto now = Clock::now();
    std::optional<std::pair<int, double>> lowest;
    std::shared_ptr<HttpConnection> victim;
    for (const auto& [address, connection] : connections) {
      if (!client.empty() && connection->client_key() != client) continue;
      const auto rank = connection->dispensable(now);
      if (!rank || (lowest && *rank >= *lowest)) continue;
      lowest = rank;
      victim = connection;
    }
    if (victim) victim->close();
    return victim != nullptr;
  }

  void drop_one_for_health() {
    const auto found = std::find_if(connections.begin(), connections.end(),
                                    [](const auto& entry) { return entry.second->only_health(); });
    if (found == connections.end()) return;
    const auto victim = found->second;
    victim->close();
  }

  void forget(HttpConnection& connection) {
    const auto count = of_client.find(connection.client_key());
    if (connections.erase(&connection) > 0 && --count->second == 0) of_client.erase(count);
  }

  // Runs while there are connections.
  void tick() {
    if (ticking || connections.empty()) return;
    ticking = true;
    timer.expires_after(kTick);
    timer.async_wait([this](const error_code& stopped) {
      ticking = false;
      if (stopped) return;
      const auto now = Clock::now();
      for (const auto& connection : all()) {
        connection->tick(now);
        if (shared.draining) connection->close_if_idle();
      }
      tick();
    });
  }

  std::vector<std::shared_ptr<HttpConnection>> all() const {
    std::vector<std::shared_ptr<HttpConnection>> result;
    for (const auto& [address, connection] : connections) result.push_back(connection);
    return result;
  }

  // Connections that the kernel has made already get their answer.
  void drain() {
    if (!acceptor.is_open()) return;
    error_code error;
    while (true) {
      tcp::socket socket(shared.io);
      acceptor.accept(socket, error);
      if (error) break;
      add(std::move(socket));
    }
    shared.draining = true;
    acceptor.close(error);
    pause.cancel();
  }

  HttpShared shared;
  tcp::acceptor acceptor{shared.io};
  asio::steady_timer timer{shared.io}, pause{shared.io};
  asio::executor_work_guard<asio::io_context::executor_type> work{shared.io.get_executor()};
  bool ticking = false;
  int port = 0;
  std::unordered_map<const HttpConnection*, std::shared_ptr<HttpConnection>> connections;
  std::unordered_map<std::string, unsigned> of_client;
  std::thread thread;
};

HttpServer::HttpServer(const HttpOptions& options, Hooks hooks)
    : impl_(std::make_unique<Impl>(options, std::move(hooks))) {}

void HttpServer::start() {
  impl_->accept();
  try {
    impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::kIo,
                std::string("cannot start the HTTP server's thread: ") + error.what());
  }
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::stop() {
  impl_->shared.io.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
  for (const auto& connection : impl_->all()) connection->close();
  error_code ignored;
  impl_->acceptor.close(ignored);
}

int HttpServer::port() const { return impl_->port; }
unsigned HttpServer::max_connections() const { return impl_->shared.options.max_connections; }
int HttpServer::open_exchanges() const { return impl_->shared.open; }
int HttpServer::accepted_exchanges() const { return impl_->shared.accepted; }

void HttpServer::drain() {
  asio::post(impl_->shared.io, [impl = impl_.get()] { impl->drain(); });
}

}  // namespace blip::server
