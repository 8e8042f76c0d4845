// blip ask without --question: every picture is encoded once, then questions are read until "exit"
// or the end of input.
#include <unistd.h>

#include "base/ascii.h"
#include "cli/ask.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/pictures.h"

namespace blip::cli {
namespace {

struct NamedImage {
  Input input;
  EncodedImage image;
};

// The prompt is for people: nothing of it reaches standard output, or anything at all when
// questions come from a pipe.
void show_prompt() {
  constexpr std::string_view kPrompt = "question> ";
  if (isatty(STDIN_FILENO) == 1) [[maybe_unused]]
    const ssize_t ignored = ::write(STDERR_FILENO, kPrompt.data(), kPrompt.size());
}

std::vector<NamedImage> encode_all(const Engine& engine, Session& session, const AskFlags& flags,
                                   Console& console, Timings& timings) {
  std::vector<NamedImage> encoded;
  const auto keep = [&](std::span<const EncodedImage> images, auto) {
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      emits.push_back([&encoded, image = images[i]](const Input& input) {
        encoded.push_back({input, image});
      });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, keep);
  return encoded;
}

void answer(const Engine& engine, Asker& asker, const std::vector<NamedImage>& images,
            const std::string& question, bool all, Console& console, Timings& timings) {
  const AskColumns columns{images.size() > 1, false, all};
  if (find_not_utf8(question) != std::string::npos)
    return console.failed(Json{{"question", question}}, question, "the question is not UTF-8");
  for (const NamedImage& image : images) {
    try {
      const std::vector<Generation> answers = asker.ask(image.image, {&question, 1});
      timings.add_result(answers.front().decode_ms);
      print_answer(console, columns, image.input, question, answers.front());
    } catch (const Error& error) {
      stop_if_interrupted();
      if (error.code() == ErrorCode::kModel || !engine.works()) throw;
      console.failed(object_of_text(image.input, "question", question), image.input.name,
                     error.what());
    }
  }
}

}  // namespace

int run_ask_prompt(const Engine& engine, Session& session, Asker& asker, const AskFlags& flags,
                   Console& console) {
  Timings timings;
  const std::vector<NamedImage> images = encode_all(engine, session, flags, console, timings);
  if (images.empty()) return exit_code(console);
  if (isatty(STDIN_FILENO) == 1) console.note("type a question; \"exit\" or Ctrl-D ends");
  LineReader reader;
  std::string line;
  for (show_prompt(); reader.next(line); show_prompt()) {
    const std::string question(trimmed(line));
    if (question == "exit") break;
    if (!question.empty())
      answer(engine, asker, images, question, wants_all(flags), console, timings);
  }
  stop_if_interrupted();
  if (flags.model.sophon.demo_times) {
    note_sophon_demo_times(console, timings);
    return exit_code(console);
  }
  const auto mean = [](double sum, std::size_t count) {
    return count == 0 ? std::string("-") : format_ms(sum / static_cast<double>(count));
  };
  console.note("preprocess " + mean(timings.preprocess_ms, timings.pictures) + ", encode " +
               mean(timings.encode_ms, timings.pictures) + " per picture; predict " +
               mean(timings.predict_ms, timings.results) + " per answer (means of " +
               std::to_string(timings.pictures) + " and " + std::to_string(timings.results) + ")");
  return exit_code(console);
}

}  // namespace blip::cli
