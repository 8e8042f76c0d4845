// blip caption: describes pictures.
#include <memory>

#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/pictures.h"

namespace blip::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  blip caption cat.jpg
  blip caption photos/ 'more/*.png' --json > captions.jsonl
  blip caption cat.jpg --beams 5 --num-captions 5
  blip caption cat.jpg --sample --top-p 0.9 --seed 1 --num-captions 3
  curl -s https://example.org/cat.jpg | blip caption -

One line per caption; with several pictures the path and a tab come first.)";

struct CaptionFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  GenerateFlags generate;
  std::string prompt;
  CLI::Option* prompt_option = nullptr;
};

Json to_json(const std::string& name, const EncodedImage& image, const Generation& generation) {
  Json object = joined(named("image", name),
             {{"caption", generation.text},
              {"token_ids", generation.token_ids},
              {"score", json_number(generation.score)},
              {"timings_ms",
               {{"preprocess", json_ms(image.preprocess_ms())},
                {"encode", json_ms(image.encode_ms())},
                {"decode", json_ms(generation.decode_ms)}}}});
  if (generation.all.size() > 1) {
    for (const Text& text : generation.all) {
      object["captions"].push_back({{"caption", text.text}, {"score", json_number(text.score)}, {"token_ids", text.token_ids}});
    }
  }
  return object;
}

void print(Console& console, const std::string& name, bool with_name, const EncodedImage& image, const Generation& generation) {
  if (console.json()) return console.object(to_json(name, image, generation));
  const std::string prefix = with_name ? printable(name) + '\t' : "";
  if (generation.all.size() <= 1) return console.line(prefix + printable(generation.text));
  for (const Text& text : generation.all) console.line(prefix + printable(text.text));
}

// Of pictures of which one may have no caption with all the words: that is the picture's failure.
std::vector<Generation> captions_of(Session& session, std::span<const EncodedImage> images,
                                    const CaptionOptions& options) {
  try {
    return session.caption(images, options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUsage || options.generate.force_words.empty()) throw;
    throw Error(ErrorCode::kImage, error.what());
  }
}

int run_caption(const CaptionFlags& flags) {
  Console console(flags.output);
  CaptionOptions options;
  if (flags.prompt_option->count() > 0) options.prompt = flags.prompt;
  options.generate = checked(flags.generate);
  check_utf8(flags.prompt, "--prompt");
  const Engine engine = load_engine(flags.model, console);
  require_memory(flags.pictures.batch, engine.info());
  require_task(engine.info().can_caption, "caption", engine.info());
  fit_to_model(options.generate, flags.generate, engine.info());
  Session session = make_session(engine, console);
  session.caption(std::span<const EncodedImage>(), options);  // are the words words?

  const Stopwatch watch;
  Timings timings;
  const bool with_names = names_needed(flags.pictures.images);
  const auto task = [&](std::span<const std::string> names, std::span<const EncodedImage> images) {
    const std::vector<Generation> captions = captions_of(session, images, options);
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      emits.push_back([&console, &timings, with_names, name = names[i], image = images[i], caption = captions[i]] {
        timings.add_result(caption.decode_ms);
        print(console, name, with_names, image, caption);
      });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, task);
  note_timings(console, timings, watch.ms() / 1000, "decode");
  return exit_code(console);
}

}  // namespace

void add_caption(CLI::App& app, Run& run) {
  auto flags = std::make_shared<CaptionFlags>();
  CLI::App& command = *app.add_subcommand("caption", "Describe pictures");
  add_picture_options(command, flags->pictures)->required();
  flags->prompt_option = command.add_option("--prompt", flags->prompt, "The caption continues this text; \"\" = no prompt; not given: the model's own, which blip info shows")
                              ->type_name("TEXT")
                              ->group("Decoding");
  add_generate_options(command, flags->generate, kCaptionText);
  add_model_options(command, flags->model);
  add_bmodel_options(command, flags->model, BmodelFiles::kWholeTask);
  add_output_options(command, flags->output);
  command.footer(kExamples);
  command.callback([flags, &run] { run = [flags] { return run_caption(*flags); }; });
}

}  // namespace blip::cli
