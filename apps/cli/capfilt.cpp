// blip capfilt: captions are made, and of them and of the texts that are there those are kept that
// fit their pictures, as the paper cleans its own training data.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/filter_rules.h"
#include "cli/identity.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/itemwise_retry.h"
#include "cli/job.h"
#include "cli/pair_reader.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kCapfiltExamples = R"(Examples:
  blip capfilt pairs.jsonl --output filtered.jsonl --kept train.json
  blip capfilt photos/ --num-captions 2 --keep 'itm>0.8'
  blip capfilt pairs.jsonl -o filtered.jsonl --model Salesforce/blip-image-captioning-large \
    --filter-model Salesforce/blip-itm-large-coco

Captions are sampled for each picture; they and the texts of PAIRS.jsonl ({"image", "text"} a line,
or "texts", "caption", "captions") are scored by the ITM head. Each text has a line: where it comes
from (web: given, synthetic: made), whether it is kept, its score and itself; in files and with
--json the reason too.)";

// Where texts come from, as the paper calls it.
constexpr std::array kSources = {"web", "synthetic"};

// That of the official code when it samples.
constexpr float kPaperTopP = 0.9f;

struct CapfiltFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  JobFlags job{jobs::kFiltered};
  std::string filter_model, prompt, kept, dropped, itm_token = kItmTokens.front();
  std::vector<std::string> keep = {"itm>0.5"};
  GenerateOptions generate;
  int min_length = kCaptionMinLength, max_text_length = 0;
  CLI::Option *prompt_option = nullptr, *beams_option = nullptr, *max_length_option = nullptr,
              *min_length_option = nullptr;
  std::vector<CLI::Option*> sampling;  // without effect on beams
};

// A text of a picture, and what became of it.
struct Judged {
  std::string text;
  const char* source;
  std::optional<Match> match;
  bool kept = false;
  std::string reason{};
};

Json to_json(const Input& input, const Judged& judged) {
  Json object = object_of_text(input, "text", judged.text);
  object["source"] = judged.source;
  object["match_probability"] =
      judged.match ? json_number(judged.match->match_probability) : Json();
  if (judged.match && judged.match->cosine) object["cosine"] = json_number(judged.match->cosine);
  object["kept"] = judged.kept;
  object["reason"] = judged.reason;
  return object;
}

// How many texts of each source there were, and were kept.
class Summary {
 public:
  void add(std::string_view source, bool kept) {
    for (std::size_t i = 0; i < kSources.size(); ++i) {
      if (source != kSources[i]) continue;
      ++texts_[i];
      kept_[i] += kept ? 1 : 0;
    }
  }

  std::string text() const {
    std::string text;
    for (std::size_t i = 0; i < kSources.size(); ++i)
      text += std::string(i == 0 ? "kept " : ", ") + std::to_string(kept_[i]) + " of " +
              std::to_string(texts_[i]) + " " + kSources[i] + " texts";
    return text;
  }

  Json object() const {
    Json object;
    for (std::size_t i = 0; i < kSources.size(); ++i)
      object[kSources[i]] = {{"texts", texts_[i]}, {"kept", kept_[i]}};
    return object;
  }

 private:
  std::array<std::size_t, kSources.size()> texts_{}, kept_{};
};

constexpr const char *kKept = "--kept", *kDropped = "--dropped", *kSummary = "summary";

// --kept, --dropped: pairs that are written when all is done.
class PairFile {
 public:
  PairFile(Job& job, std::string role, const std::string& path)
      : job_(job), role_(std::move(role)), path_(path) {
    if (path.empty()) return;
    format_ = jobs::format_of(path, jobs::kPairs);
    if (const std::string rows = jobs::rows_path(format_, path); rows != path)
      rows_.emplace(rows);
    else
      file_.emplace(job_.derive(role_, path));
    write(jobs::preamble(format_, jobs::kPairs));
  }

  void add(const Json& row) {
    if (!path_.empty()) write(jobs::row(format_, path_, jobs::kPairs, row));
  }

  void commit() {
    if (file_) file_->commit();
    if (!rows_) return;
    rows_->commit();
    job_.complete(role_, format_, path_);
    std::remove(jobs::rows_path(format_, path_).c_str());
  }

 private:
  void write(const std::string& text) { rows_ ? rows_->write(text) : file_->write(text); }

  Job& job_;
  std::string role_, path_;
  jobs::Format format_{};
  std::optional<AtomicFile> rows_;  // of a format that has an end
  std::optional<jobs::DerivedFile> file_;
};

std::string summary_path(const std::string& output) {
  return std::filesystem::path(output).replace_extension(".summary.json").string();
}

// Makes and scores the texts of pictures.
class CapFilt {
 public:
  // filter: the session of the model that scores, which may be that which makes captions.
  CapFilt(Session& maker, Session& filter, const CaptionOptions& making,
          const MatchOptions& matching, const FilterRules& rules)
      : maker_(maker), filter_(filter), making_(making), matching_(matching), rules_(rules) {}

  // One list for each input.
  std::vector<std::vector<Judged>> run(std::span<const EncodedImage> images,
                                       std::span<const Decoded* const> inputs) {
    std::vector<std::vector<Judged>> all(inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i)
      for (const std::string& text : inputs[i]->texts)
        all[i].push_back({text, kSources[0], std::nullopt});
    make(images, inputs, all);
    const std::vector<EncodedImage> seen = seen_by_filter(images, inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) judge(seen[i], all[i]);
    return all;
  }

 private:
  // Rows of one picture that stand together have its captions once.
  void make(std::span<const EncodedImage> images, std::span<const Decoded* const> inputs,
            std::vector<std::vector<Judged>>& all) {
    std::vector<EncodedImage> first;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i]->again) continue;
      first.push_back(images[i]);
      places.push_back(i);
    }
    if (first.empty()) return;
    const std::vector<Generation> made = maker_.caption(first, making_);
    for (std::size_t i = 0; i < made.size(); ++i)
      for (const Text& text : made[i].all)
        all[places[i]].push_back({text.text, kSources[1], std::nullopt});
  }

  std::vector<EncodedImage> seen_by_filter(std::span<const EncodedImage> images,
                                           std::span<const Decoded* const> inputs) {
    if (&maker_ == &filter_) return {images.begin(), images.end()};
    std::vector<Image> pictures;
    for (const Decoded* input : inputs)
      if (pictures.empty() || !input->same_picture) pictures.push_back(*input->image);
    const std::vector<EncodedImage> encoded = filter_.encode(std::span<const Image>(pictures));
    std::vector<EncodedImage> seen;
    auto next = encoded.begin();
    for (const Decoded* input : inputs)
      seen.push_back(seen.empty() || !input->same_picture ? *next++ : seen.back());
    return seen;
  }

  // A text that cannot be scored is not kept, and says why.
  void judge(const EncodedImage& image, std::vector<Judged>& texts) {
    std::set<std::string> before;
    std::vector<std::string> distinct;
    std::vector<Judged*> places;
    for (Judged& judged : texts) {
      if (!before.insert(judged.text).second) {
        judged.reason = "the same as a text of the picture before it";
      } else if (judged.text.empty()) {
        judged.reason = "it has no word";
      } else {
        distinct.push_back(judged.text);
        places.push_back(&judged);
      }
    }
    const auto work = [&](std::span<const std::string> part) {
      return filter_.match(image, part, matching_);
    };
    const auto matches = ItemwiseRetry<Match>(distinct.size()).run(distinct, work);
    for (std::size_t i = 0; i < matches.size(); ++i) {
      places[i]->match = matches[i].result;
      places[i]->reason = matches[i].error;
      if (!matches[i].result) continue;
      const FilterRules::Verdict verdict = rules_.judge(*matches[i].result);
      places[i]->kept = verdict.kept;
      places[i]->reason = verdict.reason;
    }
  }

  Session &maker_, &filter_;
  const CaptionOptions& making_;
  const MatchOptions& matching_;
  const FilterRules& rules_;
};

void print(Console& console, const Input& input, const Judged& judged) {
  if (console.json()) return console.object(to_json(input, judged));
  const bool scored = judged.match && judged.match->match_probability;
  console.line(printable(input.name) + '\t' + judged.source + '\t' +
               (judged.kept ? "kept" : "dropped") + '\t' +
               (scored ? fixed(*judged.match->match_probability, 4) : "-") + '\t' +
               printable(judged.text));
}

void check_files(const CapfiltFlags& flags) {
  check_job(flags.job, flags.output, flags.pictures.images);
  check_pairs(flags.pictures);
  std::set<std::string> names = {flags.job.output, summary_path(flags.job.output)};
  for (const auto& [option, path] :
       {std::pair{kKept, flags.kept}, std::pair{kDropped, flags.dropped}}) {
    if (path.empty()) continue;
    if (!flags.job.is_job())
      throw Exit(kExitUsage, std::string(option) + " needs --output: it is made of its rows");
    check_rows_file(path, jobs::kPairs);
    if (!names.insert(path).second)
      throw Exit(kExitUsage, std::string(option) + " " + path + " is another file of this job");
  }
}

// What is written when the whole job is done.
void write_files(const CapfiltFlags& flags, Job& job, Console& console) {
  Summary summary;
  PairFile kept(job, kKept, flags.kept), dropped(job, kDropped, flags.dropped);
  job.for_each_row([&](const Json& row) {
    stop_if_interrupted();
    const bool is_kept = row.value("kept", false);
    summary.add(row.value("source", ""), is_kept);
    (is_kept ? kept : dropped).add(row);
  });
  kept.commit();
  dropped.commit();
  Json object = summary.object();
  object["failed"] = job.failures();
  object["keep"] = flags.keep;
  jobs::DerivedFile file = job.derive(kSummary, summary_path(flags.job.output));
  file.write(object.dump() + '\n');
  file.commit();
  console.note(summary.text());
}

CaptionOptions making_options(const CapfiltFlags& flags, const ModelInfo& info) {
  CaptionOptions options;
  if (flags.prompt_option->count() > 0) options.prompt = flags.prompt;
  options.generate = flags.generate;
  options.generate.sample = flags.beams_option->count() == 0;
  if (options.generate.sample)
    options.generate.beams = GenerateOptions().beams;
  else
    options.generate.top_p = GenerateOptions().top_p;
  if (info.max_length > 0 && flags.max_length_option->count() == 0)
    options.generate.max_length = std::min(options.generate.max_length, info.max_length);
  const int shortest = flags.min_length_option->count() > 0
                           ? flags.min_length
                           : std::min(flags.min_length, options.generate.max_length);
  options.generate.min_length = shortest;
  return options;
}

void check_decoding(const CapfiltFlags& flags) {
  check_utf8(flags.prompt, "--prompt");
  if (flags.beams_option->count() == 0) return;
  refuse_given(flags.sampling, "with --beams");
  if (flags.generate.num_return > flags.generate.beams)
    throw Exit(kExitUsage,
               std::to_string(flags.generate.num_return) + " captions cannot come from --beams " +
                   std::to_string(flags.generate.beams) + "; use more beams, or sample");
}

std::optional<Engine> load_filter(const CapfiltFlags& flags, Console& console) {
  if (flags.filter_model.empty()) return std::nullopt;
  ModelOptions model = flags.model;
  model.model = flags.filter_model;
  model.adapters.clear();
  return load_engine(model, console);
}

void require_heads(const ModelInfo& info, const CapfiltFlags& flags, bool cosine) {
  if (!info.can_match_itm && flags.filter_model.empty())
    throw Exit(kExitModel, "model " + info.path + " cannot match (ITM); give one that can as " +
                               "--filter-model, such as Salesforce/blip-itm-base-coco");
  require_task(info.can_match_itm, "match (ITM)", info);
  if (cosine) require_task(info.can_match_itc, "match (ITC), which --keep asks for", info);
}

Json identity_of(const CapfiltFlags& flags, const CaptionOptions& making, const Engine& engine,
                 const Engine& filter) {
  Json identity = identity_of("capfilt", engine, flags.pictures);
  identity["--prompt"] = making.prompt ? Json(*making.prompt) : Json(nullptr);
  add_decoding(identity, making.generate, kCaptionText);
  identity["--filter-model"] = filter.info().name;
  identity["parameters of --filter-model"] = filter.info().parameters;
  identity["--itm-token"] = flags.itm_token;
  identity["--max-text-length"] = flags.max_text_length;
  identity["--keep"] = flags.keep;
  return identity;
}

// Of all pictures, printed or kept by the job.
int filter_pictures(const Engine& engine, Session& maker, CapFilt& capfilt,
                    const CapfiltFlags& flags, Console& console, Job* job) {
  const Stopwatch watch;
  Timings timings;
  Summary summary;
  const auto give_out = [&](const Input& input, double ms, const std::vector<Judged>& texts) {
    timings.add_result(ms);
    if (job != nullptr) {
      std::vector<Json> rows;
      for (const Judged& judged : texts) rows.push_back(to_json(input, judged));
      return job->add(input, rows);
    }
    for (const Judged& judged : texts) {
      summary.add(judged.source, judged.kept);
      print(console, input, judged);
    }
  };
  const auto task = [&](std::span<const EncodedImage> images,
                        std::span<const Decoded* const> inputs) {
    const Stopwatch work;
    std::vector<std::vector<Judged>> all = capfilt.run(images, inputs);
    const double each = work.ms() / static_cast<double>(inputs.size());
    std::vector<Emit> emits;
    for (std::vector<Judged>& texts : all)
      emits.push_back([&give_out, each, texts = std::move(texts)](const Input& input) {
        give_out(input, each, texts);
      });
    return emits;
  };
  run_pictures(engine, maker, flags.pictures, console, timings, task, job);
  if (job != nullptr) {
    job->finish();
    write_files(flags, *job, console);
  } else {
    console.note(summary.text());
  }
  note_timings(console, timings, watch.ms() / 1000, "capfilt");
  return exit_code(console, job);
}

int run_capfilt(CapfiltFlags flags) {
  Console console(flags.output);
  const FilterRules rules(flags.keep);
  check_decoding(flags);
  check_files(flags);
  flags.pictures.pairs->needs_texts = false;
  const Engine engine = load_engine(flags.model, console);
  const std::optional<Engine> other = load_filter(flags, console);
  const Engine& filter = other ? *other : engine;
  for (const Engine* one : {&engine, &filter}) require_memory(flags.pictures.batch, one->info());
  require_task(engine.info().can_caption, "caption", engine.info());
  require_heads(filter.info(), flags, rules.need_cosine());
  check_text_length(flags.max_text_length, filter.info());
  // Resized for one model, a picture has lost what the other would see.
  flags.pictures.prepare = engine.info().image_size == filter.info().image_size;
  const CaptionOptions making = making_options(flags, engine.info());
  const MatchOptions matching{rules.need_cosine() ? MatchHead::kAll : MatchHead::kItm,
                              flags.max_text_length, parse_itm_token(flags.itm_token)};
  Session maker = make_session(engine, console);
  maker.caption(std::span<const EncodedImage>(), making);  // are the options possible?
  std::optional<Session> filter_session;
  if (other) filter_session.emplace(make_session(filter, console));
  CapFilt capfilt(maker, filter_session ? *filter_session : maker, making, matching, rules);
  const std::unique_ptr<Job> job =
      make_job(flags.job, identity_of(flags, making, engine, filter), flags.pictures, console);
  if (job) {
    job->check_derived(kSummary, summary_path(flags.job.output));
    for (const auto& [role, path] :
         {std::pair{kKept, flags.kept}, std::pair{kDropped, flags.dropped}})
      if (!path.empty()) job->check_derived(role, path);
  }
  return filter_pictures(engine, maker, capfilt, flags, console, job.get());
}

void add_making_options(CLI::App& command, CapfiltFlags& flags) {
  const std::string group = "Decoding";
  flags.generate.top_p = kPaperTopP;
  flags.prompt_option = command
                            .add_option("--prompt", flags.prompt,
                                        "Captions continue this text; \"\" = no prompt; not given: "
                                        "the model's own")
                            ->type_name("TEXT")
                            ->group(group);
  constexpr Option kNumber = option_named("num_return");
  command.add_option("--num-captions", flags.generate.num_return, "Captions made for a picture")
      ->type_name("N")
      ->check(in_range(kNumber))
      ->capture_default_str()
      ->group(group);
  flags.sampling = {
      add_row(command, option_named("top_p"), flags.generate.top_p, group),
      add_row(command, option_named("temperature"), flags.generate.temperature, group),
      add_row(command, option_named("seed"), flags.generate.seed, group)};
  flags.beams_option = command
                           .add_option("--beams", flags.generate.beams,
                                       "Make captions by beam search, of so many, instead of "
                                       "sampling; 1 = greedy")
                           ->type_name("N")
                           ->check(in_range(option_named("beams")))
                           ->group(group);
  flags.min_length_option = add_row(command, option_named("min_length"), flags.min_length, group);
  flags.max_length_option =
      add_row(command, option_named("max_length"), flags.generate.max_length, group);
  add_row(command, option_named("repetition_penalty"), flags.generate.repetition_penalty, group);
}

void add_filter_options(CLI::App& command, CapfiltFlags& flags) {
  const std::string group = "Filter";
  command
      .add_option("--keep", flags.keep,
                  "Which texts are kept: itm>X by the match probability, itc>X by the cosine (or "
                  ">=); repeatable, all must hold")
      ->type_name("RULE")
      ->allow_extra_args(false)
      ->capture_default_str()
      ->group(group);
  add_named(command, "--filter-model", flags.filter_model,
            "The model that scores texts; not given: --model", "PATH")
      ->group(group);
  add_choice(command, "--itm-token", flags.itm_token, {kItmTokens.begin(), kItmTokens.end()},
             "What a text begins with for the ITM head, as of blip match")
      ->capture_default_str()
      ->group(group);
  add_named(command, "--kept", flags.kept,
            "When all is done, write the pairs that are kept: .jsonl, .csv (image,text), .json "
            "(an array of image and caption, as BLIP is trained on) or .parquet",
            "FILE")
      ->group("Job");
  add_named(command, "--dropped", flags.dropped, "The same of those that are not", "FILE")
      ->group("Job");
}

}  // namespace

void add_capfilt(CLI::App& app, Run& run) {
  auto flags = std::make_shared<CapfiltFlags>();
  CLI::App& command =
      *app.add_subcommand("capfilt", "Make captions, and keep the texts that fit their pictures");
  add_picture_options(command, flags->pictures)->required();
  add_pair_options(command, flags->pictures, kTextKeys);
  add_text_length(command, flags->max_text_length);
  add_job_options(command, flags->job);
  add_making_options(command, *flags);
  add_filter_options(command, *flags);
  add_model_options(command, flags->model);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kCapfiltExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_capfilt(*flags); }); });
}

}  // namespace blip::cli
