#include "cli/bench_executables.h"

#include <algorithm>

namespace blip::cli {
namespace {

void run_tasks(Session& session, const ModelInfo& info, const Image& image) {
  const EncodedImage encoded = session.encode(image);
  const auto limited = [&](GenerateOptions& options) {
    if (info.max_length > 0) options.max_length = std::min(options.max_length, info.max_length);
  };
  if (info.can_caption) {
    CaptionOptions options;
    limited(options.generate);
    session.caption(encoded, options);
  }
  if (info.can_match_itm || info.can_match_itc) session.match(encoded, {"two dogs on the beach"});
  if (info.can_ask) {
    AskOptions options;
    limited(options.generate);
    session.ask(encoded, "what is there in the picture", options);
  }
}

void print(Console& console, const ExecutableUse& use, int runs) {
  const double mean = use.launches > 0 ? use.milliseconds / static_cast<double>(use.launches) : 0;
  const double per_run = static_cast<double>(use.launches) / runs;
  if (console.json()) {
    return console.object(Json{{"device", use.device},
                               {"network", use.name},
                               {"cores", use.cores},
                               {"launches_per_run", json_ms(per_run)},
                               {"mean_ms", use.launches > 0 ? Json(json_ms(mean)) : Json(nullptr)},
                               {"inputs", use.inputs},
                               {"outputs", use.outputs}});
  }
  console.line(left_aligned(use.device, 20) + left_aligned(printable(use.name), 32) +
               right_aligned(std::to_string(use.cores), 6) + right_aligned(fixed(per_run, 1), 10) +
               right_aligned(use.launches > 0 ? fixed(mean, 3) : "-", 11) + "  " + use.inputs +
               " -> " + use.outputs);
}

}  // namespace

int bench_executables(const ModelOptions& model, const std::string& image, int runs,
                      Console& console) {
  const Engine engine = load_engine(model, console);
  Session session = make_session(engine, console);
  const std::vector<std::uint8_t> grey(3, 128);
  const Image picture =
      image.empty() ? Image::from_rgb(grey.data(), 1, 1) : Image::from_file(image);
  run_tasks(session, engine.info(), picture);
  const std::vector<ExecutableUse> before = engine.executables();
  for (int run = 0; run < runs; ++run) run_tasks(session, engine.info(), picture);
  if (!console.json())
    console.line(left_aligned("device", 20) + left_aligned("network", 32) +
                 " cores  launches    mean ms  inputs -> outputs");
  std::vector<ExecutableUse> uses = engine.executables();
  for (std::size_t i = 0; i < uses.size(); ++i) {
    uses[i].launches -= before[i].launches;
    uses[i].milliseconds -= before[i].milliseconds;
    print(console, uses[i], runs);
  }
  return 0;
}

}  // namespace blip::cli
