// One client's connection. Everything here happens on the I/O thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "server/http.h"
#include "server/http_request.h"

namespace blip::server {

class HttpConnection;

// What connections share.
struct HttpShared {
  HttpOptions options;
  HttpServer::Hooks hooks;
  boost::asio::io_context io{1};
  // Bytes go through here: the sockets' thread is one.
  std::string scratch = std::string(std::size_t{64} << 10, '\0');
  std::atomic<int> open{0}, accepted{0};
  std::string id_prefix;
  std::uint64_t next_id = 0;
  bool draining = false;
  std::function<void(HttpConnection&)> closed;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpShared& shared, boost::asio::ip::tcp::socket socket, bool only_health);

  void start();
  void close();
  // Ends what took too long.
  void tick(Clock::time_point now);
  // Closes the connection if nothing is under way on it.
  void close_if_idle();

  // Which connection should go first when there is no room: the lowest. Nothing for one that works.
  std::optional<std::pair<int, double>> dispensable(Clock::time_point now) const;
  const std::string& client_key() const { return client_key_; }
  bool only_health() const { return only_health_; }

 private:
  // kLingering: everything is sent, and what still comes is dropped, so that no reset overtakes the
  // answer.
  enum class State { kIdle, kHead, kBody, kAnswering, kLingering, kClosed };
  struct Rate {  // bytes in the present window
    Clock::time_point since;
    std::uint64_t bytes = 0;
  };

  template <class Step>
  void guarded(Step step);
  void wait_for_bytes();
  void on_bytes();
  void feed(std::string_view bytes);
  std::size_t consume(std::string_view bytes);
  void on_end_of_input();
  void head_complete();
  void make_exchange(Request request);
  void refuse(Response response, bool keep_connection);
  void fail(int status, const std::string& problem);
  void take_body(std::string_view piece);
  bool keep_body(std::size_t size);
  void body_complete();
  void exchange_ready();
  void begin_answer(Response& response, bool streaming);
  bool take_stream_chunk();
  void write_some();
  void answer_complete();
  void begin_request();
  void next_request();
  void linger();
  void finish_exchange();
  bool too_slow(Rate& rate, Clock::time_point now, std::uint64_t bytes) const;
  bool reads_too_slowly(Clock::time_point now);
  void set_state(State state);

  HttpShared& shared_;
  boost::asio::ip::tcp::socket socket_;
  const bool only_health_;
  std::string client_, local_, client_key_;
  State state_ = State::kIdle;
  Clock::time_point since_;  // the state's beginning; of a body: the headers' end
  bool fresh_ = true;        // no request has come yet
  bool waiting_ = false;     // for bytes
  std::string input_;        // what came and is not used up
  std::unique_ptr<RequestReader> reader_;
  ExchangePtr exchange_;
  Served served_;
  bool accepted_ = false, dropping_ = false, keep_alive_ = true, body_done_ = false;
  Rate received_;
  // The answer on its way.
  bool writing_ = false, answering_ = false, answered_ = false, streaming_ = false,
       chunked_ = false, last_piece_ = false;
  std::string head_, body_;  // to be sent, in this order
  std::size_t offset_ = 0;
  std::uint64_t written_ = 0;  // to the socket, ever
  Rate sent_;
};

}  // namespace blip::server
