// The whole server: HTTP on one side, the models' queues on the other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "server/endpoint.h"
#include "server/history.h"
#include "server/http.h"
#include "server/scheduler.h"

namespace blip::server {

struct ServerOptions {
  HttpOptions http;
  SchedulerOptions scheduler;
  ServiceLimits limits;
  // of the whole program, in bytes; 0 = three quarters of what there is to have
  std::size_t memory = 0;
  // encoded pictures, per model; 0 = no cache
  std::size_t cache_entries = 256, cache_bytes = std::size_t{1} << 30;
  int max_requests = 256;  // at work or waiting for a thread; more get 429
  int threads = 32;        // requests read or decoded at a time; waiting for a model does not count
  std::vector<std::string> api_keys;       // empty = no key needed
  std::vector<std::string> allowed_hosts;  // names of this server: access.h, HostPattern
  double drain_seconds = 30;               // how long drain() waits for answers
  std::vector<std::string> cors_origins;   // whose pages may use the server; "*" = any
  std::string history;                     // SQLite file of the page's history; "" = none kept
  HistoryLimits history_limits;
  double result_seconds = 600;  // how long /caption/get_result and its like remember
  // "caption", "match" or "ask": /push_data and /get_result are of this task, too; "" = of none
  std::string sophon_demo;
  bool quiet = false;  // log errors only
};

struct NamedEngine {
  std::string name;
  Engine engine;
};

class Server {
 public:
  // Listens and serves. Throws Error.
  Server(const ServerOptions& options, const std::vector<NamedEngine>& engines);
  ~Server();

  int port() const;
  // Stops listening, refuses new requests on open connections with 503 and returns when all that
  // were accepted are answered, or when drain_seconds are over; those that are left then lose their
  // connection.
  void drain();
  // From any thread, while the server works. Requests that come from now on need one of these.
  void set_api_keys(std::vector<std::string> keys);
  // Why the keys stay as they are.
  void report_keys_problem(const std::string& problem);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blip::server
