// blip serve: the models behind an HTTP API and a web page.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/sophon_demo_arguments.h"
#include "server/access.h"
#include "server/models.h"
#include "server/server.h"
#include "server/sophon_demo_protocol.h"

namespace blip::cli {
namespace {

constexpr const char* kServeCommandExamples = R"(Examples:
  blip serve
  blip serve --model photos=caption.gguf --model vqa.gguf --port 9000
  blip serve --host 0.0.0.0 --api-key-file keys.txt
  curl -s http://127.0.0.1:8080/v1/caption -F image=@cat.jpg

The page is at http://HOST:PORT/, the API's description at /openapi.json. Log lines, one JSON
object each, go to standard error. SIGINT and SIGTERM end the server when every accepted request
is answered; a second one ends it at once. SIGHUP reads the API keys again.)";

struct ServeFlags {
  bool quiet = false;
  ModelOptions model;
  std::vector<std::string> models;
  server::ServerOptions server;
  double timeout_seconds = server::ServiceLimits().timeout_ms / 1000;
  std::string key_file;
  bool no_history = false;
};

// $XDG_DATA_HOME/blip/history.db, by default in ~/.local/share.
std::string default_history() {
  namespace fs = std::filesystem;
  // NOLINTBEGIN(concurrency-mt-unsafe): nothing here writes the environment.
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0')
    return (fs::path(data) / "blip" / "history.db").string();
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return (fs::path(home) / ".local" / "share" / "blip" / "history.db").string();
  // NOLINTEND(concurrency-mt-unsafe)
  return "";
}

std::vector<std::string> read_keys(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> keys;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0)
      line.pop_back();
    if (!line.empty() && !line.starts_with('#')) keys.push_back(line);
  }
  if (keys.empty()) throw Exit(kExitUsage, "no API key in " + path + "; write one a line");
  return keys;
}

// What is to be loaded, each with its name or "", which is the model's own.
struct NamedModel {
  std::string name;
  ModelOptions options;
};

// PATH or NAME=PATH of --model, the files that have options of their own, or what the vendor's
// sample takes by itself, where its folder is this one or the one above.
// The sample's own files, if they are all in its folder: this one or the one above. "" where
// another device is asked for.
std::string sophon_demo_model(const std::string& task, bool device_given) {
  std::string first_missing;
  for (const char* root : {".", ".."}) {
    const std::vector<std::string> files = sophon_demo_bmodels(task, root);
    const auto missing = std::find_if(files.begin(), files.end(), [](const std::string& file) {
      return !std::filesystem::exists(file);
    });
    if (missing == files.end()) return CLI::detail::join(files, ",");
    if (first_missing.empty()) first_missing = *missing;
  }
  if (device_given) return "";
  throw Exit(kExitUsage,
             "--sophon-demo " + task + " needs a model: --model PATH; of the sample's own, " +
                 first_missing +
                 " is missing (--device cpu serves the model that other commands take)");
}

std::vector<NamedModel> models_of(const ServeFlags& flags) {
  std::vector<NamedModel> models;
  ModelOptions plain = flags.model;
  plain.sophon.bmodel = plain.sophon.vision = plain.sophon.question = plain.sophon.answer = "";
  for (const std::string& argument : flags.models) {
    const std::size_t equals = argument.find('=');
    const bool named = equals != std::string::npos && argument.find('/') > equals;
    models.push_back({named ? argument.substr(0, equals) : "", plain});
    models.back().options.model = named ? argument.substr(equals + 1) : argument;
  }
  const auto add_file = [&](const std::string& file) {
    if (file.empty()) return;
    models.push_back({"", plain});
    models.back().options.sophon.bmodel = file;
  };
  add_file(flags.model.sophon.bmodel);
  if (!flags.model.sophon.vision.empty()) {
    models.push_back({"", flags.model});
    models.back().options.sophon.bmodel = "";
  }
  if (!flags.server.sophon_demo.empty() && models.empty() && given_model("").empty())
    add_file(sophon_demo_model(flags.server.sophon_demo, plain.device_option->count() > 0));
  if (models.empty()) models.push_back({"", plain});
  return models;
}

std::vector<server::NamedEngine> load_engines(const ServeFlags& flags, Console& console) {
  std::vector<server::NamedEngine> engines;
  const std::vector<NamedModel> models = models_of(flags);
  if (models.size() > 1 && !flags.model.adapters.empty())
    throw Exit(kExitUsage,
               "--adapter goes with one model: give a folder with an adapter as a model of its "
               "own, --model NAME=FOLDER");
  for (const NamedModel& model : models) {
    const Engine engine = load_engine(model.options, console);
    const std::string name = model.name.empty() ? engine.info().name : model.name;
    for (const auto& other : engines)
      if (other.name == name)
        throw Exit(kExitUsage,
                   "two models are named \"" + name + "\"; name them with --model NAME=PATH");
    engines.push_back({name, engine});
  }
  const std::string& task = flags.server.sophon_demo;
  const auto able = [&](const server::NamedEngine& one) {
    return server::can(one.engine.info(), server::sophon_demo_task(task));
  };
  if (!task.empty() && std::none_of(engines.begin(), engines.end(), able))
    throw Exit(kExitUsage, "--sophon-demo " + task + ": no loaded model can " + task);
  return engines;
}

// Unasked, the history is kept where only programs of this machine can reach it.
void choose_history(server::ServerOptions& options, Console& console) {
  if (server::is_loopback(options.http.host)) {
    options.history = default_history();
  } else {
    console.note("the page's history is off, as others reach " + printable(options.http.host) +
                 "; --history FILE keeps one, for each API key its own");
  }
}

std::atomic<bool> g_hang_up{false};

// A terminal that closes must not end the server; who wants it to read its keys again sends the
// signal too.
void catch_hang_up() {
  struct sigaction action = {};
  action.sa_handler = [](int) { g_hang_up = true; };
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGHUP, &action, nullptr);
}

void reload_keys(server::Server& server, const std::string& file) {
  if (file.empty()) return server.report_keys_problem("there is no --api-key-file");
  try {
    server.set_api_keys(read_keys(file));
  } catch (const Exit& problem) {
    server.report_keys_problem(problem.what());
  }
}

std::string address_of(const std::string& host, int port) {
  const bool six = host.find(':') != std::string::npos;
  return "http://" + (six ? "[" + host + "]" : host) + ":" + std::to_string(port) + "/";
}

int run_serve(const ServeFlags& flags) {
  catch_hang_up();
  Console console({.json = false, .quiet = flags.quiet});
  server::ServerOptions options = flags.server;
  options.quiet = flags.quiet;
  options.limits.timeout_ms = flags.timeout_seconds * 1000;
  if (!flags.key_file.empty()) options.api_keys = read_keys(flags.key_file);
  if (!flags.no_history && options.history.empty()) choose_history(options, console);
  // A file that reaches the limit of ulimit -f is one more full disk, and no reason to end.
  std::signal(SIGXFSZ, SIG_IGN);
  const auto engines = load_engines(flags, console);
  server::Server server(options, engines);
  console.line(address_of(options.http.host, server.port()));
  while (interrupted() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (g_hang_up.exchange(false)) reload_keys(server, flags.key_file);
  }
  server.drain();
  return kExitOk;
}

template <class Number>
void add_number(CLI::App& command, const std::string& name, Number& value, std::uint64_t low,
                std::uint64_t high, const std::string& description, const std::string& group) {
  command.add_option(name, value, description)
      ->type_name("N")
      ->check(whole_in(low, high))
      ->capture_default_str()
      ->group(group);
}

void add_model_flags(CLI::App& command, ServeFlags& flags) {
  add_model_options(command, flags.model);
  // Here it may come several times, with a name.
  command.remove_option(command.get_option("--model"));
  command
      .add_option("-m,--model", flags.models,
                  "A model's name, Hugging Face folder, .pth, .bin, .safetensors, .gguf or .bmodel "
                  "(several files of one compiled model with commas), or NAME=PATH; repeat for "
                  "several; else $BLIP_MODEL, else the bundled model")
      ->type_name("PATH")
      ->check(not_empty())
      ->allow_extra_args(false)
      ->group("Model");
}

void add_queue_flags(CLI::App& command, ServeFlags& flags) {
  const std::string group = "Queue";
  server::ServerOptions& o = flags.server;
  add_number(command, "--batch", o.scheduler.max_batch, 1, kMaxBatch,
             "Jobs per pass through the model", group);
  command
      .add_option("--batch-window", o.scheduler.window_ms,
                  "Milliseconds a batch waits for requests on their way; 0 = none")
      ->type_name("N")
      ->check(number_in(0, 1000))
      ->capture_default_str()
      ->group(group);
  add_number(command, "--queue", o.scheduler.queue_limit, 1, 1'000'000,
             "Jobs that may wait per model; more get 429 Too Many Requests", group);
  add_number(command, "--max-requests", o.max_requests, 1, 100'000,
             "Requests accepted at a time; more get 429 Too Many Requests", group);
  add_number(command, "--concurrency", o.threads, 1, 1024,
             "Requests read or decoded at a time; those that wait for a model do not count", group);
  command.add_option("--timeout", flags.timeout_seconds, "Seconds until a request is given up")
      ->type_name("N")
      ->check(number_in(0.01, 86400))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--memory", o.memory,
                  "Memory of the whole program in bytes, or with K, M or G; 0 = three quarters of "
                  "what the machine or container has left")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(false))
      ->group(group);
  add_number(command, "--cache-entries", o.cache_entries, 0, 1'000'000,
             "Encoded pictures kept per model; 0 = none", group);
  add_number(command, "--cache-bytes", o.cache_bytes, 0, std::uint64_t{1} << 46, "Memory for them",
             group);
}

void add_history_flags(CLI::App& command, ServeFlags& flags) {
  const std::string group = "Page";
  server::ServerOptions& o = flags.server;
  CLI::Option* file =
      command
          .add_option(
              "--history", o.history,
              "SQLite file of the page's history; default: blip/history.db in the user's data "
              "folder, and none where --host is not a loopback address")
          ->type_name("FILE")
          ->check(not_empty())
          ->group(group);
  command.add_flag("--no-history", flags.no_history, "Keep no history")
      ->excludes(file)
      ->group(group);
  add_number(command, "--history-max", o.history_limits.max_entries, 1, 1'000'000,
             "Entries kept of each user; the oldest go", group);
  add_number(command, "--history-max-bytes", o.history_limits.max_bytes, 1024,
             std::uint64_t{1} << 46,
             "Bytes kept of each user, pictures included; the oldest entries go", group);
}

CLI::Option* add_seconds(CLI::App& command, const std::string& name, double& value, double low,
                         const std::string& description) {
  return command.add_option(name, value, description)
      ->type_name("SECONDS")
      ->check(number_in(low, 86400))
      ->capture_default_str()
      ->group("Connections");
}

void add_connection_flags(CLI::App& command, server::ServerOptions& o) {
  const std::string group = "Connections";
  add_number(command, "--max-connections", o.http.max_connections, 1, 100'000,
             "Connections at a time; over it the oldest idle or slowest one makes room", group);
  command
      .add_option("--max-connections-per-client", o.http.max_per_client,
                  "Connections of one address (IPv6: of one /64), 0 = no limit; default: " +
                      std::to_string(server::kDefaultPerClient) +
                      ", and no limit for clients on this machine")
      ->type_name("N")
      ->check(whole_in(0, 100'000))
      ->group(group);
  add_seconds(command, "--header-timeout", o.http.header_seconds, 0.1,
              "Seconds for a request's headers to come");
  add_seconds(command, "--body-timeout", o.http.body_seconds, 0.1,
              "Seconds for a request's body to come");
  add_seconds(command, "--idle-timeout", o.http.idle_seconds, 0.1,
              "Seconds that a connection waits for its next request");
  command
      .add_option("--min-rate", o.http.min_rate,
                  "Bytes per second at which a body comes and an answer is read at least, over 10 "
                  "s; 0 = any")
      ->type_name("N")
      ->check(number_in(0, 1e9))
      ->capture_default_str()
      ->group(group);
  add_seconds(command, "--drain-timeout", o.drain_seconds, 0,
              "Seconds that accepted requests get after SIGTERM");
}

}  // namespace

void add_serve(CLI::App& app, Run& run) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App& command = *app.add_subcommand("serve", "Serve an HTTP API and a web page");
  server::ServerOptions& o = flags->server;
  add_named(command, "--host", o.http.host,
            "Address to listen on; 0.0.0.0 = every one of this machine", "ADDRESS")
      ->capture_default_str();
  add_number(command, "--port", o.http.port, 0, 65535, "Port to listen on; 0 = any free one",
             "Options");
  add_model_flags(command, *flags);
  add_queue_flags(command, *flags);
  add_limit_options(command, o.limits.image);
  add_number(command, "--max-body", o.http.max_body, 1, std::uint64_t{1} << 40,
             "Refuse larger bodies", "Input");
  add_number(command, "--max-images", o.limits.input.max_images, 1, 10'000, "Pictures per request",
             "Input");
  add_number(command, "--max-texts", o.limits.input.max_texts, 1, 100'000, "Texts per request",
             "Input");
  add_connection_flags(command, o);
  add_number(command, "--max-beams", o.limits.work.max_beams, 1, option_named("beams").whole_high(),
             "Beams a request may ask for", "Input");
  add_number(command, "--max-captions", o.limits.work.max_returned, 1,
             option_named("num_return").whole_high(),
             "Captions or answers per picture and question", "Input");
  add_number(command, "--max-tokens", o.limits.work.max_tokens, 1,
             option_named("max_length").whole_high(), "Longest max_length a request may ask for",
             "Input");
  add_number(command, "--max-work", o.limits.work.max_work, 1, std::uint64_t{1} << 40,
             "Rows of a request: pictures x questions x beams x max_length, and its texts' tokens",
             "Input");
  command
      .add_option("--api-key-file", flags->key_file,
                  "File of API keys, one a line; without it none is needed")
      ->type_name("FILE")
      ->check(not_empty())
      ->check(CLI::ExistingFile)
      ->group("Access");
  add_repeated(command, "--allowed-host", o.allowed_hosts,
               "Name by which clients may call this server, beside localhost and its addresses: "
               "NAME, NAME:PORT, "
               ".NAME with all below it, or * for any; repeat for several")
      ->check(not_empty())
      ->group("Access");
  add_repeated(command, "--cors-origin", o.cors_origins,
               "Origin whose pages may use the server, or *; repeat for several")
      ->check(not_empty())
      ->group("Access");
  add_choice(command, "--sophon-demo", o.sophon_demo,
             {server::kSophonDemoTasks.begin(), server::kSophonDemoTasks.end()},
             "Be the backend of SOPHON's BLIP sample for this task: /push_data and /get_result at "
             "the root, its models where no other is given and they are in its folder")
      ->group("SOPHON");
  add_history_flags(command, *flags);
  command.add_flag("-q,--quiet", flags->quiet, "Log errors only")->group("Output");
  command.footer(kServeCommandExamples);
  command.callback([flags, &run] { run = [flags] { return run_serve(*flags); }; });
}

}  // namespace blip::cli
