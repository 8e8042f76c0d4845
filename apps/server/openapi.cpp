#include "server/openapi.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "blip/limits.h"
#include "server/attention_api.h"
#include "server/chat.h"
#include "server/endpoint.h"
#include "server/heat_map.h"
#include "server/history_api.h"

namespace blip::server {
namespace {

Json bound(const Option& row, double value) {
  if (row.type == OptionType::kNumber && value != std::floor(value)) return number_json(value);
  if (row.type == OptionType::kWhole && value == row.high) return row.whole_high();
  return static_cast<std::int64_t>(value);
}

// What "${NAME}" stands for.
std::map<std::string, Json> known_values() {
  const ServiceLimits limits;
  std::map<std::string, Json> values{
      {"version", version()},
      {"heads", kMatchHeads},
      {"default_head", kMatchHeads.front()},
      {"itm_tokens", kItmTokens},
      {"default_itm_token", kItmTokens.front()},
      {"shortest_timeout_ms", static_cast<int>(kShortestTimeoutMs)},
      {"timeout_ms", static_cast<int>(limits.timeout_ms)},
      {"max_texts", limits.input.max_texts},
      {"max_text_characters", limits.input.max_text_characters},
      {"max_word", kMaxTextWords},
      {"heat_map_side", kHeatMapSide},
      {"max_chat_temperature", static_cast<int>(kMaxChatTemperature)},
      {"max_stops", kMaxStops},
      {"history_page", kHistoryPage},
      {"max_history_page", kMaxHistoryPage},
      {"max_history_name", History::kMaxName / kHistoryBytesPerCharacter},
      {"max_history_summary", History::kMaxSummary / kHistoryBytesPerCharacter},
      {"max_history_result", History::kMaxResult / kHistoryBytesPerCharacter},
      {"max_history_depth", kHistoryResultLimits.max_depth},
      {"max_history_values", kHistoryResultLimits.max_values},
  };
  for (const Option& row : kOptions) {
    values[std::string(row.name) + ".low"] = bound(row, row.low);
    values[std::string(row.name) + ".high"] = bound(row, row.high);
  }
  return values;
}

class Generator {
 public:
  explicit Generator(const Json& source)
      : notes_(source.at("x-notes")), fields_(source.at("x-fields")) {}

  Json expand(const Json& value) const {
    if (value.is_string()) return filled(value.get<std::string>());
    Json result = value.is_array() ? Json::array() : value.is_object() ? Json::object() : value;
    if (value.is_array()) {
      for (const Json& item : value) result.push_back(expand(item));
    } else if (value.is_object()) {
      for (const auto& [name, item] : value.items()) expand_member(value, name, item, result);
    }
    return result;
  }

 private:
  Json filled(std::string text) const {
    for (std::size_t at = text.find("${"); at != std::string::npos; at = text.find("${", at)) {
      const std::size_t end = text.find('}', at);
      if (end == std::string::npos) throw std::invalid_argument("no } after ${ in " + text);
      const std::string name = text.substr(at + 2, end - at - 2);
      const auto found = values_.find(name);
      if (found == values_.end()) throw std::invalid_argument("no value is named " + name);
      if (at == 0 && end + 1 == text.size()) return found->second;
      const std::string shown =
          found->second.is_string() ? found->second.get<std::string>() : found->second.dump();
      text.replace(at, end + 1 - at, shown);
      at += shown.size();
    }
    return text;
  }

  void expand_member(const Json& parent, const std::string& name, const Json& item,
                     Json& result) const {
    if (!name.starts_with("x-")) {
      result[name] = expand(item);
    } else if (name == "x-fields" && item.is_array()) {
      add_fields(parent, result);
    }
  }

  // The schema of a row, with its description.
  Json schema_of(const Option& row, const GeneratedText& text) const {
    Json schema;
    const double otherwise = row.*text.defaults;
    if (row.type == OptionType::kFlag) {
      schema = {{"type", "boolean"}, {"default", otherwise != 0}};
    } else if (row.type == OptionType::kTexts) {
      const Json item{{"type", "string"}, {"minLength", 1}};
      schema = {{"type", "array"}, {"items", item}, {"maxItems", row.whole_high()}};
    } else {
      schema["type"] = row.type == OptionType::kNumber ? "number" : "integer";
      schema["minimum"] = bound(row, row.low);
      schema["maximum"] = bound(row, row.high);
      // Outside of the range it stands for what is not given.
      if (otherwise >= row.low && otherwise <= row.high) schema["default"] = bound(row, otherwise);
    }
    std::string description = std::string(row.help) + ".";
    if (row.use == OptionUse::kSampling) description += " Without sample an error.";
    if (row.use == OptionUse::kWithoutSampling) description += " With sample an error.";
    if (row.use == OptionUse::kSeveralBeams) description += " With sample or one beam an error.";
    if (const auto note = notes_.find(row.name); note != notes_.end())
      description += " " + filled(note->get<std::string>()).get<std::string>();
    schema["description"] = description;
    return schema;
  }

  void add_named(const std::string& name, Json& fields) const {
    if (name.starts_with('@')) {
      const GeneratedText& text = name == "@caption" ? kCaptionText : kAnswerText;
      for (const Option& row : kOptions)
        if (row.generates()) fields[name_for(row, text)] = schema_of(row, text);
      return;
    }
    const auto row = std::find_if(kOptions.begin(), kOptions.end(),
                                  [&](const Option& one) { return one.name == name; });
    if (row != kOptions.end()) {
      fields[name] = schema_of(*row, kCaptionText);
    } else if (fields_.contains(name)) {
      fields[name] = expand(fields_.at(name));
    } else {
      throw std::invalid_argument("no field is named " + name);
    }
  }

  static Json parameters_of(const Json& fields) {
    Json parameters = Json::array();
    for (const auto& [name, field] : fields.items()) {
      Json schema = field;
      schema.erase("description");
      Json& one = parameters.emplace_back(Json{
          {"name", name}, {"in", "query"}, {"required", false}, {"schema", std::move(schema)}});
      if (field.contains("description")) one["description"] = field["description"];
    }
    return parameters;
  }

  static Json object_of(const Json& pictures, const Json& fields) {
    Json properties = pictures;
    properties.update(fields);
    return {
        {"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
  }

  void add_fields(const Json& operation, Json& result) const {
    Json fields = Json::object();
    for (const Json& item : operation.at("x-fields")) {
      if (item.is_string())
        add_named(item.get<std::string>(), fields);
      else
        fields.update(expand(item));
    }
    // Of a pair both are needed, so a picture as the whole body will not do.
    const bool pair = operation.at("x-pictures") == "pair",
               several = pair || operation.at("x-pictures") == "images",
               required = operation.contains("x-picture-required");
    const Json encoded{{"$ref", "#/components/schemas/Picture"}},
        file{{"type", "string"}, {"contentMediaType", "application/octet-stream"}};
    Json in_json = Json::object(), in_form = Json::object();
    if (!pair) {
      in_json["image"] = encoded;
      in_form["image"] = file;
    }
    if (several) {
      in_json["images"] = {{"type", "array"},
                           {"minItems", 1},
                           {"items", encoded},
                           {"description", "At most the server's --max-images."}};
      in_form["images"] = {{"type", "array"}, {"items", file}};
    }
    if (pair) {
      in_json["images"]["minItems"] = in_json["images"]["maxItems"] = 2;
      in_json["images"]["description"] = "The left and the right one.";
      in_form["images"]["minItems"] = in_form["images"]["maxItems"] = 2;
    }
    Json json = object_of(in_json, fields), form = object_of(in_form, fields);
    if (pair) {
      json["required"] = form["required"] = Json::array({"images"});
    } else if (required && several) {
      const auto needs = [](const char* name) { return Json{{"required", Json::array({name})}}; };
      json["allOf"] =
          Json::array({Json{{"anyOf", Json::array({needs("image"), needs("images")})}}});
    } else if (required) {
      json["required"] = form["required"] = Json::array({"image"});
    }
    result["parameters"] = parameters_of(fields);
    const Json bytes{{"schema", {{"type", "string"}, {"format", "binary"}}}};
    result["requestBody"] = {
        {"required", required},
        {"content",
         {{"application/json",
           {{"schema", std::move(json)}, {"example", operation.at("x-example")}}},
          {"multipart/form-data", {{"schema", std::move(form)}}}}}};
    if (pair) return;
    for (const char* type : {"image/*", "application/octet-stream"})
      result["requestBody"]["content"][type] = bytes;
  }

  std::map<std::string, Json> values_ = known_values();
  const Json &notes_, &fields_;
};

}  // namespace

Json openapi_document(const Json& source) { return Generator(source).expand(source); }

}  // namespace blip::server
