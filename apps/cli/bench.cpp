// blip bench: how long each stage of a model takes here, against what the machine's units and
// memory can do.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "base/resources.h"
#include "blip/machine.h"
#include "cli/bench_executables.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "common/zone_sums.h"

namespace blip::cli {
namespace {

using apps::ZoneSum;
using apps::ZoneSums;

constexpr const char* kFooter = R"(Examples:
  blip bench
  blip bench --model blip-base.gguf --dtype f32,bf16,int8 --threads 1,2
  blip bench --model blip-base.gguf --image photo.jpg --batch 1,4 --json
  blip bench --model blip-base.gguf --stage vision --stage "caption, greedy to 20" --dtype int8

Times are medians of --runs runs after one that is thrown away. Gop/s counts a product and a sum
as two operations; shares are of this machine's peak for the number type, measured first, and of
its memory bandwidth, measured between the runs (neighbours on the same host may take some of it
at any moment), both with the same threads. A token is one step of greedy decoding for every
picture of the batch; "image keys" are the keys and values that beams and matches attend to;
"again": the picture's keys are there. The last rows are whole tasks on a new picture. Run it on
an idle machine. On a SOPHON chip (--device sophon:0) each compiled network is timed instead, from
launch to result: launches for one run of every task the model has, and their mean time.)";

struct BenchFlags {
  OutputOptions output;
  ModelOptions model;
  std::vector<std::string> dtypes;
  std::vector<int> threads, batches{1};
  std::vector<std::string> stages;  // none: all that the model has
  std::string image;
  int runs = 7, tokens = 16;
  CLI::Option *image_option = nullptr, *tokens_option = nullptr;

  bool wants(std::initializer_list<const char*> some) const {
    return stages.empty() || std::any_of(some.begin(), some.end(), [&](const char* stage) {
             return std::find(stages.begin(), stages.end(), stage) != stages.end();
           });
  }
};

struct Stage {
  const char* name;
  bool ModelInfo::*can;  // of the models that have it; null: of all
};
constexpr Stage kStages[] = {{"preprocess", nullptr},
                             {"vision", nullptr},
                             {"image keys", &ModelInfo::can_caption},
                             {"prefill", &ModelInfo::can_caption},
                             {"token", &ModelInfo::can_caption},
                             {"caption, greedy to 20", &ModelInfo::can_caption},
                             {"caption, 3 beams to 20", &ModelInfo::can_caption},
                             {"1 text of 35, again", &ModelInfo::can_match_itm},
                             {"10 texts of 35, again", &ModelInfo::can_match_itm},
                             {"match, 10 texts of 35", &ModelInfo::can_match_itm},
                             {"ask, greedy to 10", &ModelInfo::can_ask}};

// Those of a model, or every one: "vision", "token", ...
std::string stage_names(const ModelInfo* info) {
  std::string names;
  for (const Stage& stage : kStages)
    if (!info || !stage.can || info->*stage.can)
      names += (names.empty() ? "\"" : ", \"") + std::string(stage.name) + "\"";
  return names;
}

struct Row {
  std::string stage;
  std::vector<double> ms;
  ZoneSum work;      // of one run
  double read_gb_s;  // memory bandwidth beside it
};

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size()))) -
                1];
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

template <class Work>
double time_ms(const Work& work) {
  const double start = now_ms();
  work();
  return now_ms() - start;
}

// A picture with structure, of the network's own size times two: every run has something to resize.
Image test_picture(int size) {
  const int side = 2 * size;
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) *
                                3);
  for (std::size_t i = 0; i < rgb.size(); ++i)
    rgb[i] = static_cast<std::uint8_t>((i / 3 * 7 + i / 911) % 251);
  return Image::from_rgb(rgb.data(), side, side);
}

// One combination of number type, threads and batch.
class Bench {
 public:
  Bench(const Engine& engine, Session& session, const BenchFlags& flags, int batch,
        MachineProbe& machine)
      : flags_(flags),
        engine_(engine),
        session_(session),
        info_(engine.info()),
        batch_(batch),
        machine_(machine) {}

  std::vector<Row> run() {
    pictures();
    if (info_.can_caption) captions();
    if (info_.can_match_itm) matches();
    if (info_.can_ask) answers();
    return std::move(rows_);
  }

 private:
  bool wanted(std::initializer_list<const char*> stages) const { return flags_.wants(stages); }
  void encode_pictures() {
    encoded_ = session_.encode(std::vector<Image>(static_cast<std::size_t>(batch_), test_picture_));
  }

  // The first run only warms up.
  template <class Work>
  void repeat(const Work& work) {
    for (int run = -1; run < flags_.runs; ++run) {
      stop_if_interrupted();
      work(run >= 0);
    }
  }
  // The same, with a look at the memory before each run.
  template <class Work>
  void repeat_beside_memory(const Work& work) {
    bandwidths_.clear();
    repeat([&](bool keep) {
      bandwidths_.push_back(machine_.read_gb_s());
      work(keep);
    });
  }
  void add(const char* stage, std::vector<double> ms) {
    if (wanted({stage})) rows_.push_back({stage, std::move(ms), {}, 0});
  }
  // A stage of what was repeated beside memory last.
  void add(const char* stage, std::vector<double> ms, const ZoneSum& work) {
    if (wanted({stage}))
      rows_.push_back({stage, std::move(ms), work, percentile(bandwidths_, 0.5)});
  }

  void pictures() {
    if (!wanted({"preprocess", "vision"})) {
      encode_pictures();
      return;
    }
    std::vector<double> preprocess, encode;
    ZoneSum work;
    // Once: the vision encoder hardly waits for memory, and would find its caches emptied.
    bandwidths_ = {machine_.read_gb_s()};
    repeat([&](bool keep) {
      zones_.take();
      std::vector<Image> images;
      for (int i = 0; i < batch_; ++i)
        images.push_back(flags_.image.empty() ? test_picture_ : Image::from_file(flags_.image));
      encoded_ = session_.encode(images);
      auto zones = zones_.take();
      work = zones["encode"];
      if (!keep) return;
      preprocess.push_back((zones["read picture"].ms + zones["preprocess"].ms) / batch_);
      encode.push_back(work.ms);
    });
    add("preprocess", std::move(preprocess));
    add("vision", std::move(encode), work);
  }

  void captions() {
    if (wanted({"image keys", "prefill", "token"})) caption_stages();
    CaptionOptions options;
    options.generate.min_length = options.generate.max_length = 20;
    for (const int beams : {1, 3}) {
      options.generate.beams = beams;
      whole(beams == 1 ? "caption, greedy to 20" : "caption, 3 beams to 20",
            [&] { session_.caption(encoded_, options); });
    }
  }

  void caption_stages() {
    CaptionOptions one;
    one.generate.beams = 1;
    const int prompt = static_cast<int>(engine_.caption_prompt_tokens());
    one.generate.min_length = one.generate.max_length = prompt + 1;
    CaptionOptions many = one;
    many.generate.min_length = many.generate.max_length = prompt + flags_.tokens;
    std::vector<double> keys, prefill, token;
    ZoneSum keys_work, prefill_work, token_work;
    repeat_beside_memory([&](bool keep) {
      encode_pictures();
      zones_.take();
      // Looking where a text's words come from needs keys, as beams and matches do.
      Text text;
      text.text = "a";
      for (const EncodedImage& image : encoded_) session_.attention(image, text, {.layers = 1});
      keys_work = zones_.take()["image keys"];
      session_.caption(encoded_, one);  // the weights come back into the caches
      zones_.take();
      session_.caption(encoded_, many);
      auto zones = zones_.take();
      prefill_work = zones["prefill"];
      token_work = zones["token"].mean();
      if (!keep) return;
      keys.push_back(keys_work.ms);
      prefill.push_back(prefill_work.ms);
      token.push_back(token_work.ms);
    });
    add("image keys", std::move(keys), keys_work);
    add("prefill", std::move(prefill), prefill_work);
    add("token", std::move(token), token_work);
  }

  // From a new picture to its texts, preprocessing included.
  template <class Task>
  void whole(const char* name, const Task& task) {
    if (!wanted({name})) return;
    std::vector<double> ms;
    repeat([&](bool keep) {
      const double spent = time_ms([&] {
        encode_pictures();
        task();
      });
      if (keep) ms.push_back(spent);
    });
    add(name, std::move(ms));
  }

  void matches() {
    std::string text = "a";  // 33 tokens and the two around them
    for (int i = 0; i < 16; ++i) text += " b a";
    for (const int texts : {1, 10}) {
      const char* name = texts == 1 ? "1 text of 35, again" : "10 texts of 35, again";
      if (!wanted({name})) continue;
      const std::vector<std::string> list(static_cast<std::size_t>(texts), text);
      std::vector<double> ms;
      ZoneSum work;
      repeat_beside_memory([&](bool keep) {
        zones_.take();
        session_.match(encoded_.front(), list, {MatchHead::kItm});
        work = zones_.take()["match"];
        if (keep) ms.push_back(work.ms);
      });
      add(name, std::move(ms), work);
    }
    whole("match, 10 texts of 35", [&] {
      session_.match(encoded_.front(), std::vector<std::string>(10, text), {MatchHead::kItm});
    });
  }

  void answers() {
    AskOptions options;
    options.generate.beams = 1;
    options.generate.min_length = options.generate.max_length = 10;
    whole("ask, greedy to 10", [&] {
      session_.ask(encoded_.front(), "what is there in the picture on the left", options);
    });
  }

  const BenchFlags& flags_;
  const Engine& engine_;
  Session& session_;
  const ModelInfo& info_;
  int batch_;
  ZoneSums zones_;
  MachineProbe& machine_;
  std::vector<double> bandwidths_;
  Image test_picture_ = test_picture(info_.image_size);
  std::vector<EncodedImage> encoded_;
  std::vector<Row> rows_;
};

double peak(const MachineSpeed& machine, DType dtype) {
  return dtype == DType::kInt8   ? machine.int8_gops
         : dtype == DType::kBf16 ? machine.bf16_gops
                                 : machine.f32_gops;
}

std::string percent(double share) { return share > 0 ? fixed(100 * share, 0) + " %" : "-"; }

void print_row(Console& console, const Row& row, const Engine& engine, int batch,
               const MachineSpeed& machine) {
  const double median = percentile(row.ms, 0.5), p95 = percentile(row.ms, 0.95);
  const double gops = median > 0 ? row.work.operations / median / 1e6 : 0,
               gb_s = median > 0 ? row.work.bytes / median / 1e6 : 0;
  const double best = peak(machine, engine.dtype()), peak_share = best > 0 ? gops / best : 0;
  const double memory_share = row.read_gb_s > 0 ? gb_s / row.read_gb_s : 0;
  if (console.json()) {
    return console.object(Json{{"stage", row.stage},
                               {"dtype", to_string(engine.dtype())},
                               {"threads", engine.threads()},
                               {"batch", batch},
                               {"median_ms", json_ms(median)},
                               {"p95_ms", json_ms(p95)},
                               {"gops", json_ms(gops)},
                               {"peak_share", json_ms(peak_share)},
                               {"read_gb_s", json_ms(gb_s)},
                               {"bandwidth_share", json_ms(memory_share)}});
  }
  console.line(
      left_aligned(row.stage, 22) + right_aligned(to_string(engine.dtype()), 5) +
      right_aligned(std::to_string(engine.threads()), 8) + right_aligned(std::to_string(batch), 6) +
      right_aligned(fixed(median, 2), 11) + right_aligned(fixed(p95, 2), 10) +
      right_aligned(gops > 0 ? fixed(gops, 0) : "-", 8) + right_aligned(percent(peak_share), 7) +
      right_aligned(gb_s > 0 ? fixed(gb_s, 1) : "-", 8) + right_aligned(percent(memory_share), 8));
}

void print_machine(Console& console, int threads, const MachineSpeed& m) {
  if (console.json()) {
    return console.object(Json{{"machine", devices().front().description},
                               {"isa", vector_instructions()},
                               {"threads", threads},
                               {"f32_gops", json_ms(m.f32_gops)},
                               {"bf16_gops", json_ms(m.bf16_gops)},
                               {"int8_gops", json_ms(m.int8_gops)},
                               {"read_gb_s", json_ms(m.read_gb_s)}});
  }
  const auto gops = [](double value) { return value > 0 ? fixed(value, 0) : std::string("none"); };
  console.line(printable(devices().front().description));
  console.line(std::to_string(threads) + (threads == 1 ? " thread" : " threads") +
               " at their best: f32 " + gops(m.f32_gops) + ", bf16 " + gops(m.bf16_gops) +
               ", int8 " + gops(m.int8_gops) + " Gop/s; memory read at " + fixed(m.read_gb_s, 1) +
               " GB/s");
  console.line(left_aligned("stage", 22) +
               " type threads batch  median ms    p95 ms   Gop/s   peak    GB/s  memory");
}

// The number types asked for, or every one.
std::vector<std::string> dtypes_of(const BenchFlags& flags) {
  if (!flags.dtypes.empty()) return flags.dtypes;
  std::vector<std::string> types;
  for (const DType type : device_dtypes(flags.model.device)) types.push_back(to_string(type));
  return types.empty() ? std::vector<std::string>{"auto"} : types;
}

// Where the model runs by itself.
std::string device_of(const ModelOptions& model) {
  const std::vector<std::string> files = bmodels_of(model);
  return files.empty() ? device_for(given_model(model.model)) : model.sophon.device();
}

void check_flags(const BenchFlags& flags) {
  if (!flags.wants({"preprocess", "vision"}))
    refuse_given({flags.image_option}, "without the stages preprocess and vision");
  if (!flags.wants({"image keys", "prefill", "token"}))
    refuse_given({flags.tokens_option}, "without the stages image keys, prefill and token");
  if (!flags.image.empty()) Image::from_file(flags.image);
}

void check_model(const BenchFlags& flags, const Engine& engine) {
  const ModelInfo& info = engine.info();
  for (const int batch : flags.batches) require_memory(batch, info);
  for (const Stage& stage : kStages)
    if (!flags.stages.empty() && flags.wants({stage.name}) && stage.can && !(info.*stage.can))
      throw Exit(kExitUsage, "--stage \"" + std::string(stage.name) + "\": " + info.path +
                                 " has no such stage; it has " + stage_names(&info));
  const int prompt = info.can_caption ? static_cast<int>(engine.caption_prompt_tokens()) : 0;
  if (info.can_caption && info.max_length > 0 && prompt + flags.tokens > info.max_length &&
      flags.wants({"image keys", "prefill", "token"}))
    throw Exit(kExitUsage, "--tokens " + std::to_string(flags.tokens) + ": " + info.path +
                               " writes at most " + std::to_string(info.max_length - prompt) +
                               " behind its prompt");
}

int run_bench(const BenchFlags& flags) {
  check_flags(flags);
  Console console(flags.output);
  const bool given = flags.model.device_option->count() > 0;
  const std::string device = given ? flags.model.device : device_of(flags.model);
  if (!device_kind(device).on_host)
    return bench_executables(flags.model, flags.image, flags.runs, console);
  std::vector<int> thread_counts = flags.threads;
  if (thread_counts.empty())
    thread_counts.push_back(flags.model.threads ? flags.model.threads : available_cpus());
  for (const int threads : thread_counts) {
    stop_if_interrupted();
    MachineProbe probe(threads);
    std::optional<MachineSpeed> measured;  // once a model is there
    for (const std::string& dtype : dtypes_of(flags)) {
      ModelOptions model = flags.model;
      model.dtype = dtype;
      model.threads = threads;
      const Engine engine = load_engine(model, console);
      check_model(flags, engine);
      stop_if_interrupted();
      if (!measured) print_machine(console, threads, *(measured = probe.measure()));
      const MachineSpeed& machine = *measured;
      Session session = make_session(engine, console);
      for (const int batch : flags.batches)
        for (const Row& row : Bench(engine, session, flags, batch, probe).run())
          print_row(console, row, engine, batch, machine);
    }
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App& command = *app.add_subcommand("bench", "Time every stage against the machine's peak");
  add_model_options(command, flags->model);
  command.remove_option(command.get_option("--dtype"));
  command.remove_option(command.get_option("--threads"));
  const std::string group = "Benchmark";
  command.add_option("--dtype", flags->dtypes, "Number types, with commas; default: all")
      ->delimiter(',')
      ->type_name("TYPE,...")
      ->check(one_of({"auto", "f32", "bf16", "int8"}))
      ->group(group);
  command
      .add_option("--threads", flags->threads, "Thread counts, with commas; default: every core")
      ->delimiter(',')
      ->type_name("N,...")
      ->check(in_range(option_named("threads")))
      ->group(group);
  command.add_option("--batch", flags->batches, "Pictures at a time, with commas")
      ->delimiter(',')
      ->type_name("N,...")
      ->check(whole_in(1, 256))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--stage", flags->stages,
                  "Only this stage, as its line is called (may be repeated); default: all that the "
                  "model has")
      ->type_name("NAME")
      ->take_all()
      ->allow_extra_args(false)
      ->check(CLI::Validator(
          [](const std::string& value) {
            const auto same = [&](const Stage& stage) { return value == stage.name; };
            return std::any_of(std::begin(kStages), std::end(kStages), same)
                       ? std::string()
                       : "\"" + value + "\" is no stage; there are " + stage_names(nullptr);
          },
          "", "stage"))
      ->group(group);
  flags->image_option =
      command
          .add_option("--image", flags->image,
                      "Time reading this picture too; default: a picture made in memory")
          ->type_name("FILE")
          ->check(not_empty())
          ->group(group);
  command.add_option("--runs", flags->runs, "Runs of each stage")
      ->type_name("N")
      ->check(whole_in(1, 1000))
      ->capture_default_str()
      ->group(group);
  flags->tokens_option = command.add_option("--tokens", flags->tokens, "Tokens to generate")
                             ->type_name("N")
                             ->check(whole_in(2, 256))
                             ->capture_default_str()
                             ->group(group);
  add_output_options(command, flags->output);
  command.footer(kFooter);
  command.callback([flags, &run] { run = [flags] { return run_bench(*flags); }; });
}

}  // namespace blip::cli
