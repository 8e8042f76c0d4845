#include "cli/identity.h"

#include <type_traits>
#include <variant>

#include "jobs/key.h"

namespace blip::cli {

Json identity_of(const std::string& command, const Engine& engine, const PictureOptions& pictures) {
  const ModelInfo& info = engine.info();
  Json identity{{"command", command}, {"--model", info.name}, {"parameters", info.parameters}};
  if (!info.adapters.empty()) identity["--adapter"] = info.adapters;
  identity["--dtype"] = to_string(engine.dtype());
  if (!pictures.image_column.empty()) identity["--image-column"] = pictures.image_column;
  if (pictures.decode.background) {
    const Color& color = *pictures.decode.background;
    identity["--background"] = {color.red, color.green, color.blue};
  }
  return identity;
}

void add_decoding(Json& identity, const GenerateOptions& options, const GeneratedText& text) {
  for (const Option& row : kOptions) {
    const std::string name = spelling(name_for(row, text));
    const auto add = [&](auto field) {
      if constexpr (std::is_same_v<decltype(field), std::optional<int> GenerateOptions::*>) {
        const std::optional<int> value = options.*field;
        identity[name] = value ? Json(*value) : Json(nullptr);
      } else if constexpr (std::is_same_v<decltype(field), float GenerateOptions::*>) {
        identity[name] = json_number(options.*field);
      } else if constexpr (!std::is_same_v<decltype(field), std::monostate>) {
        identity[name] = options.*field;
      }
    };
    if (row.has_effect(options)) std::visit(add, row.field);
  }
}

Json identity_of_texts(const std::vector<std::string>& texts) {
  constexpr std::size_t kShown = 8;
  if (texts.empty()) return nullptr;
  if (texts.size() <= kShown) return texts;
  std::string all;
  for (const std::string& text : texts) all += text + '\n';
  return {{"number", texts.size()}, {"digest", jobs::digest(all)}};
}

}  // namespace blip::cli
