#include "server/server.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "blip/blip.h"
#include "common/zone_sums.h"
#include "server/access.h"
#include "server/api.h"
#include "server/assets.h"
#include "server/attention_api.h"
#include "server/chat.h"
#include "server/content_encoding.h"
#include "server/history_api.h"
#include "server/log.h"
#include "server/sophon_demo_protocol.h"
#include "server/worker_pool.h"

namespace blip::server {
namespace {

constexpr std::size_t kMaxResults = 10'000;
constexpr int kQuickRequests = 256;
// The page runs only its own files; pictures may come from anywhere, as the browser fetches
// addresses itself.
constexpr const char* kPagePolicy =
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self' http: https: data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'";

const char* content_type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".json")) return "application/json";
  if (name.ends_with(".svg")) return "image/svg+xml";
  return "application/octet-stream";
}

// What the page's file chooser takes: pictures, and the endings of those that browsers do not know.
std::string with_pictures(std::string text) {
  constexpr std::string_view kMark = "@PICTURES@";
  const std::size_t at = text.find(kMark);
  if (at == std::string::npos) return text;
  std::string kinds = "image/*";
  for (const ImageFormat& format : image_formats()) {
    if (!format.readable) continue;
    for (const std::string& ending : format.endings) kinds += "," + ending;
  }
  return text.replace(at, kMark.size(), kinds);
}

// What the HTTP server answers by itself.
const ProblemKind& kind_of(int status) {
  for (const ProblemKind* kind : {&kRequestTimeout, &kTooLarge, &kUriTooLong, &kHeadersTooLarge,
                                  &kNotImplemented, &kUnavailable, &kHttpVersion})
    if (kind->status == status) return *kind;
  return kInvalidRequest;
}

}  // namespace

struct Server::Impl {
  struct Route {
    std::string path;  // a * stands for one piece
    std::vector<std::string> methods;
    std::function<void(Exchange&)> answer;
    bool quick = false;   // never waits for a model
    bool open = false;    // without a key
    bool health = false;  // on the I/O thread, whoever asks under whatever name: load balancers do
  };

  Impl(const ServerOptions& server_options, const std::vector<NamedEngine>& engines)
      : options(server_options),
        log(options.quiet),
        access({options.api_keys, options.cors_origins, options.allowed_hosts, options.http.host}),
        memory(options.memory != 0 ? options.memory : default_memory(), resident_memory()),
        service{models, metrics, memory, options.limits, !options.api_keys.empty()},
        results(options.result_seconds, kMaxResults) {
    return_freed_memory();
    if (!options.history.empty())
      history = std::make_unique<History>(options.history, options.history_limits);
    for (const auto& [name, engine] : engines)
      models.add(std::make_unique<Model>(name, engine, options.scheduler, options.cache_entries,
                                         options.cache_bytes, memory, metrics, service.preparing));
    describe_metrics();
    add_routes();
    pool = std::make_unique<WorkerPool>(options.threads, options.max_requests);
    quick_pool = std::make_unique<WorkerPool>(1, kQuickRequests);
    HttpServer::Hooks hooks;
    hooks.accept = [this](Request& request) { return refuse(request); };
    hooks.handle = [this](const ExchangePtr& exchange) { handle(exchange); };
    hooks.failure = [this](const Request& request, int status, const std::string& detail) {
      return failure(request, kind_of(status), detail, status == 503 ? seconds_waiting() : 1);
    };
    hooks.finished = [this](const Served& served) { finished(served); };
    HttpOptions http_options = options.http;
    http_options.memory = &memory;
    http_options.max_body = max_body();
    http = std::make_unique<HttpServer>(http_options, std::move(hooks));
    http->start();
  }

  std::size_t max_body() const { return std::min(options.http.max_body, memory.largest_body()); }

  // The library's own stages, whichever request they were for.
  void describe_zones() {
    const auto add = [this](const char* name, const char* help, auto value) {
      metrics.counters(name, help, [this, value] {
        std::map<std::string, double> all;
        for (const auto& [zone, sum] : zones.sums()) all[label("zone", zone)] = value(sum);
        return all;
      });
    };
    using Sum = apps::ZoneSum;
    add("blip_zone_seconds_total", "Time of the library's stages; one may lie in another.",
        [](const Sum& sum) { return sum.ms / 1000; });
    add("blip_zone_count_total", "How often the library's stages ran.",
        [](const Sum& sum) { return sum.count; });
    add("blip_zone_operations_total", "Products and sums in the library's stages.",
        [](const Sum& sum) { return sum.operations; });
    add("blip_zone_bytes_total", "Weights, keys and values that the library's stages read.",
        [](const Sum& sum) { return sum.bytes; });
  }

  void describe_metrics() {
    const std::vector<double> seconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                         0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
    metrics.describe("blip_requests_total", "Requests answered, by route, method and status.");
    metrics.describe("blip_request_seconds",
                     "From a request's headers to its answer's last byte, by route.", seconds);
    metrics.describe("blip_stage_seconds",
                     "Time by stage: queue, decode_image, preprocess, encode, and the tasks.",
                     seconds);
    metrics.describe("blip_batch_size", "Jobs computed together, by task; pictures for encode.",
                     {1, 2, 4, 8, 16, 32, 64});
    metrics.describe("blip_image_cache_hits_total", "Pictures whose encoding was at hand.");
    metrics.describe("blip_image_cache_misses_total",
                     "Pictures that went through the vision tower.");
    metrics.describe("blip_part_failures_total",
                     "Pictures and texts that failed alone in an answered request, by code.");
    metrics.describe("blip_rejected_total",
                     "Requests refused because the server was full, by reason.");
    const auto sum = [this](auto value) {
      double total = 0;
      for (const auto& model : models.all()) total += static_cast<double>(value(*model));
      return total;
    };
    metrics.gauge("blip_queue_jobs", "Jobs waiting for a model.",
                  [sum] { return sum([](const Model& m) { return m.scheduler.waiting(); }); });
    metrics.gauge("blip_image_cache_entries", "Encoded pictures kept.",
                  [sum] { return sum([](const Model& m) { return m.cache.entries(); }); });
    metrics.gauge("blip_image_cache_bytes", "Memory of the encoded pictures.",
                  [sum] { return sum([](const Model& m) { return m.cache.bytes(); }); });
    metrics.gauge(
        "blip_queue_seconds", "How long the jobs that wait will take, as far as is known.",
        [sum] { return sum([](const Model& m) { return m.scheduler.seconds_waiting(); }); });
    metrics.gauge("blip_memory_limit_bytes", "What the server may use (--memory).",
                  [this] { return static_cast<double>(memory.total()); });
    metrics.gauges("blip_memory_bytes", "What is in use of it, by kind.", [this] {
      std::map<std::string, double> held;
      for (std::size_t i = 0; i < kMemoryKinds; ++i) {
        const auto kind = static_cast<MemoryKind>(i);
        held[std::string("kind=\"") + to_string(kind) + "\""] =
            static_cast<double>(memory.held(kind));
      }
      return held;
    });
    metrics.gauges("blip_spare_bytes", "Memory kept for the next requests, by kind.", [this] {
      double scratch = 0;
      for (const auto& model : models.all())
        scratch += static_cast<double>(model->engine.spare_bytes());
      return std::map<std::string, double>{
          {label("kind", "pages"), static_cast<double>(kept_bytes())},
          {label("kind", "scratch"), scratch}};
    });
    describe_zones();
    metrics.gauge("blip_failed_devices", "Devices that do not work now (/readyz).",
                  [sum] { return sum([](const Model& m) { return m.engine.faults().size(); }); });
    metrics.gauge("blip_requests_in_flight", "Requests that are not answered yet.",
                  [this] { return http->open_exchanges(); });
  }

  void add_sophon_demo_routes(const std::string& folder, const std::string& task) {
    const auto add = [&](const char* name, const char* method, auto answer) {
      routes.push_back({folder + name, {method}, [this, task, answer](Exchange& exchange) {
                          answer(service, results, access.key_of(exchange.request), task, exchange);
                        }});
    };
    add("/push_data", "POST", push_data);
    add("/get_result", "GET", get_result);
  }

  void add_routes() {
    const auto of_models = [&](const std::string& path, void (*answer)(Service&, Exchange&)) {
      routes.push_back(
          {path, {"POST"}, [this, answer](Exchange& exchange) { answer(service, exchange); }});
    };
    of_models("/v1/caption", answer_caption);
    of_models("/v1/match", answer_match);
    of_models("/v1/ask", answer_ask);
    of_models("/v1/nlvr", answer_nlvr);
    of_models("/v1/embed", answer_embed);
    of_models("/v1/attention", answer_attention);
    of_models("/v1/chat/completions", answer_chat);
    for (const std::string name : kSophonDemoTasks) add_sophon_demo_routes("/" + name, name);
    // "/": for those who start the page with an address that ends in a slash.
    if (!options.sophon_demo.empty())
      for (const char* folder : {"", "/"}) add_sophon_demo_routes(folder, options.sophon_demo);
    const auto quick = [&](const std::string& path, bool open, std::function<Response()> answer) {
      routes.push_back(
          {path,
           {"GET"},
           [answer = std::move(answer)](Exchange& exchange) { exchange.respond(answer()); },
           true,
           open});
    };
    quick("/v1/models", false, [this] { return json_response(describe_models(models)); });
    const auto health = [&](const std::string& path, std::function<Response()> answer) {
      quick(path, true, std::move(answer));
      routes.back().health = true;
    };
    health("/healthz", [] { return json_response({{"status", "ok"}}); });
    health("/readyz", [this] {
      if (draining) return to_response(kUnavailable, "the server is shutting down", "");
      const std::string faults = models.faults();
      return faults.empty() ? json_response({{"status", "ready"}})
                            : to_response(kUnavailable, faults, "");
    });
    quick("/metrics", false, [this] {
      return Response{200, "text/plain; version=0.0.4", metrics.text()};
    });
    for (const Asset& asset : assets()) {
      const std::string path = asset.name == "index.html" ? "/" : "/" + std::string(asset.name);
      quick(path, true, [asset, body = with_pictures(std::string(asset.bytes))] {
        return Response{200,
                        content_type_of(asset.name),
                        body,
                        {{"Cache-Control", "no-cache"},
                         {"Content-Security-Policy", kPagePolicy},
                         {"Referrer-Policy", "no-referrer"}}};
      });
    }
    const auto keep = [this](Exchange& exchange) {
      if (!history) answer_no_history(exchange);
      answer_history(*history, history->owner_of(access.key_of(exchange.request)),
                     options.limits.input, exchange);
    };
    routes.push_back({"/v1/history", {"GET", "POST", "DELETE"}, keep});
    routes.push_back({"/v1/history/*", {"GET", "PUT", "DELETE"}, keep});
    routes.push_back({"/v1/history/*/image", {"GET"}, keep});
  }

  static bool fits(std::string_view pattern, std::string_view path) {
    const std::size_t star = pattern.find('*');
    if (star == std::string_view::npos) return pattern == path;
    const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
    if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
        !path.ends_with(after))
      return false;
    return path.substr(before.size(), path.size() - before.size() - after.size()).find('/') ==
           std::string_view::npos;
  }

  const Route* find(const std::string& path) const {
    const auto found = std::find_if(routes.begin(), routes.end(),
                                    [&](const Route& route) { return fits(route.path, path); });
    return found == routes.end() ? nullptr : &*found;
  }

  // Every answer passes here on its way out.
  Response dressed(const Request& request, Response response) const {
    response.headers.emplace_back("X-Request-Id", request.id);
    response.headers.emplace_back("X-Content-Type-Options", "nosniff");
    access.add_headers(request, response);
    return response;
  }

  Response problem_response(const Request& request, const ProblemKind& kind,
                            const std::string& detail, double retry_after = 1) const {
    if (request.path == "/v1/chat/completions")
      return chat_problem(kind, detail, request.id, retry_after);
    if (is_sophon_demo_path(request.path) && find(request.path) != nullptr)
      return sophon_demo_problem(request.path, kind, detail, retry_after);
    return to_response(kind, detail, request.id, retry_after);
  }

  Response failure(const Request& request, const ProblemKind& kind, const std::string& detail,
                   double retry_after = 1) const {
    return dressed(request, problem_response(request, kind, detail, retry_after));
  }

  // How long the queues are, for those who are told to come again.
  double seconds_waiting() const {
    double seconds = 0;
    for (const auto& model : models.all())
      seconds = std::max(seconds, model->scheduler.seconds_waiting());
    return seconds;
  }

  // What the headers alone decide.
  std::optional<Response> refuse(Request& request) {
    const Route* route = find(request.path);
    if (auto answer = refuse_stranger(request, route)) return answer;
    if (auto answer = access.preflight(request)) return dressed(request, std::move(*answer));
    if (request.path == "*")
      return dressed(request, {204, "", "", {{"Allow", "GET, POST, PUT, DELETE, OPTIONS"}}});
    if (route == nullptr)
      return failure(
          request, kNotFound,
          "there is nothing at " + quote(request.path) + "; /openapi.json lists what there is");
    if (std::find(route->methods.begin(), route->methods.end(), request.method) ==
        route->methods.end()) {
      std::string allow;
      for (const std::string& method : route->methods)
        allow += (allow.empty() ? "" : ", ") + method;
      Response response =
          failure(request, kMethodNotAllowed,
                  request.path + " takes " + allow + ", not " + quote(request.method));
      response.headers.emplace_back("Allow", allow);
      return response;
    }
    if (!route->open && !access.has_key(request))
      return failure(request, kUnauthorized,
                     "send the header Authorization: Bearer KEY with one of the server's keys");
    if (!route->health && !access.origin_allowed(request, route->open && request.method == "GET"))
      return failure(
          request, kForbiddenOrigin,
          "pages of " +
              (request.header("origin").empty() ? "other sites" : quote(request.header("origin"))) +
              " may not use this server; allow them with --cors-origin, or name this server's "
              "public name "
              "with --allowed-host");
    if (draining && !route->health)
      return failure(request, kUnavailable, "the server is shutting down");
    return std::nullopt;
  }

  // Names that are none of ours, and connections that are kept for health alone.
  std::optional<Response> refuse_stranger(const Request& request, const Route* route) const {
    if (route != nullptr && route->health) return std::nullopt;
    if (request.only_health)
      return failure(request, kUnavailable,
                     "all " + std::to_string(http->max_connections()) +
                         " connections are at work; try again soon");
    if (access.host_allowed(request)) return std::nullopt;
    std::string names;
    for (const std::string& name : request.authorities) names += (names.empty() ? "" : ", ") + name;
    return failure(request, kUnknownHost,
                   "this server is not " + names + "; if it is, start it with --allowed-host NAME");
  }

  void handle(const ExchangePtr& exchange) {
    const Route& route = *find(exchange->request.path);
    if (route.health) return run(route, *exchange);
    WorkerPool& where = route.quick ? *quick_pool : *pool;
    if (where.try_run([this, &route, exchange] { run(route, *exchange); })) return;
    metrics.count("blip_rejected_total", "reason=\"requests\"");
    exchange->respond(failure(exchange->request, kQueueFull,
                              "the server works on " + std::to_string(options.max_requests) +
                                  " requests, its limit; try again soon",
                              seconds_waiting()));
  }

  void run(const Route& route, Exchange& exchange) {
    const Request& request = exchange.request;
    const auto fail = [&](const ProblemKind& kind, const std::string& detail,
                          double retry_after = 1) {
      exchange.respond(problem_response(request, kind, detail, retry_after));
    };
    exchange.set_finisher(
        [this, &request](Response response) { return dressed(request, std::move(response)); });
    try {
      unpack_body(exchange, max_body(), memory);
      const auto reading =
          route.quick ? MemoryBudget::Share() : take_memory_to_read(service, exchange);
      route.answer(exchange);
    } catch (const Problem& problem) {
      if (problem.kind().status == 429) metrics.count("blip_rejected_total", "reason=\"queue\"");
      if (&problem.kind() == &kOverloaded) metrics.count("blip_rejected_total", "reason=\"time\"");
      if (&problem.kind() == &kOutOfMemory)
        metrics.count("blip_rejected_total", "reason=\"memory\"");
      fail(problem.kind(), problem.what(), problem.retry_after());
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) return exchange.respond({kClientGone, "", ""});
      if (&kind_of(error.code()) == &kInternal)
        log.error("failure", {{"id", request.id}, {"message", error.what()}});
      fail(kind_of(error.code()),
           &kind_of(error.code()) == &kInternal ? kUnexpected : error.what());
    } catch (const std::bad_alloc&) {
      fail(kOutOfMemory, kNoMemoryNow, seconds_waiting());
    } catch (const std::exception& error) {
      log.error("failure", {{"id", request.id}, {"message", error.what()}});
      fail(kInternal, kUnexpected);
    }
  }

  void finished(const Served& served) {
    const Route* route = find(served.path);
    const std::string label = "route=\"" + (route != nullptr ? route->path : "other") + "\"";
    const double ms = ms_since(served.received);
    // Methods are the client's own words: only those of a route become a label.
    const bool known = route != nullptr && std::find(route->methods.begin(), route->methods.end(),
                                                     served.method) != route->methods.end();
    metrics.count("blip_requests_total", label + ",method=\"" + (known ? served.method : "other") +
                                             "\",status=\"" + std::to_string(served.status) + "\"");
    metrics.observe("blip_request_seconds", label, ms / 1000);
    log.info("request", {{"id", served.id},
                         {"client", served.client},
                         {"method", served.method},
                         {"path", served.path},
                         {"status", served.status},
                         {"ms", std::round(ms * 1000) / 1000},
                         {"bytes_in", served.bytes_in},
                         {"bytes_out", served.bytes_out}});
  }

  const ServerOptions options;
  Log log;
  apps::ZoneSums zones;
  Metrics metrics;
  Access access;
  MemoryBudget memory;
  Models models;
  Service service;
  ResultStore results;
  std::unique_ptr<History> history;
  std::vector<Route> routes;
  std::atomic<bool> draining{false};
  // In this order they end: no request comes in, those at work are answered, the models' queues run
  // dry.
  std::unique_ptr<WorkerPool> pool;
  std::unique_ptr<WorkerPool> quick_pool;  // one thread for what needs no model
  std::unique_ptr<HttpServer> http;
};

Server::Server(const ServerOptions& options, const std::vector<NamedEngine>& engines)
    : impl_(std::make_unique<Impl>(options, engines)) {
  Json names = Json::array();
  for (const auto& model : impl_->models.all()) names.push_back(model->name);
  impl_->log.info("listening", {{"host", options.http.host},
                                {"port", port()},
                                {"models", names},
                                {"max_connections", impl_->http->max_connections()}});
  if (!impl_->access.needs_key() && !is_loopback(options.http.host))
    impl_->log.warning("exposed",
                       {{"host", options.http.host},
                        {"message",
                         "everyone who can reach this address may use the server; ask for keys "
                         "with --api-key-file, or listen on 127.0.0.1"}});
}

Server::~Server() { drain(); }

int Server::port() const { return impl_->http->port(); }

void Server::set_api_keys(std::vector<std::string> keys) {
  impl_->log.warning("keys", {{"message", "API keys read again"}, {"keys", keys.size()}});
  impl_->access.set_keys(std::move(keys));
}

void Server::report_keys_problem(const std::string& problem) {
  impl_->log.error("keys", {{"message", "the API keys stay as they are: " + problem}});
}

void Server::drain() {
  if (impl_->draining.exchange(true)) return;
  impl_->log.info("draining", {{"requests", impl_->http->accepted_exchanges()},
                               {"seconds", impl_->options.drain_seconds}});
  impl_->http->drain();
  const auto started = Clock::now();
  constexpr auto kInterval = std::chrono::milliseconds(10);
  constexpr double kLeastMs = 300;  // what is in the sockets' buffers by now gets its 503
  while (ms_since(started) < kLeastMs || impl_->http->accepted_exchanges() > 0) {
    if (ms_since(started) >= std::max(kLeastMs, impl_->options.drain_seconds * 1000)) break;
    std::this_thread::sleep_for(kInterval);
  }
  const int left = impl_->http->accepted_exchanges();
  impl_->http->stop();  // closes what is open; work for these clients ends at its next step
  if (left > 0) impl_->log.warning("cut_off", {{"requests", left}});
  impl_->log.info("stopped", Json::object());
}

}  // namespace blip::server
