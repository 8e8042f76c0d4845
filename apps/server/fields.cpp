#include "server/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "base/utf8.h"
#include "server/base64.h"
#include "server/forms.h"
#include "server/history_api.h"

namespace blip::server {
namespace {

[[noreturn]] void invalid(const std::string& name, const std::string& what) {
  throw Problem(kInvalidRequest, "field " + quote(name) + ": " + what);
}

// The body was already limited in bytes. A request of ours is a flat object with lists of pictures
// and texts: more values are a mistake, or an attack, as a value in memory takes many times the
// bytes of its text.
JsonLimits json_limits(const InputLimits& limits) {
  return {.max_bytes = std::numeric_limits<std::size_t>::max(),
          .max_values = 1024 + limits.max_images + 4 * limits.max_texts};
}

template <class Number>
bool parse(const std::string& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string media_type(const Request& request) {
  std::string type = request.header("content-type");
  type.resize(std::min(type.find(';'), type.size()));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  return lower(type);
}

bool is_picture(std::string_view bytes) { return !picture_type(bytes).empty(); }

bool is_picture_field(const std::string& name) { return name == "image" || name == "images"; }

}  // namespace

Fields::Fields(const Request& request, const InputLimits& limits) : limits_(limits) {
  for (const auto& [name, value] : request.query) add(name, value);
  in_query_ = textual_;
  const std::string type = media_type(request);
  // What curl says of a body whose type it was not told; and what no type at all says.
  const bool unsaid = type.empty() || type == "application/x-www-form-urlencoded";
  if (unsaid && is_picture(request.body)) {
    add_picture(request.body);
  } else if (unsaid && request.body.starts_with('{')) {
    throw Problem(kUnsupportedMedia, "the body looks like JSON, but its Content-Type " +
                                         (type.empty() ? std::string("is missing") : "is " + type) +
                                         "; send Content-Type: application/json");
  } else if (type == "application/json") {
    // Many clients name a type with every request, bodies or none.
    if (!request.body.empty() || request.method == "POST" || request.method == "PUT")
      read_json(request);
  } else if (type == "multipart/form-data" || type == "application/x-www-form-urlencoded") {
    read_parts(request, type == "multipart/form-data");
  } else if (type.starts_with("image/") || type == "application/octet-stream") {
    if (!request.body.empty()) add_picture(request.body);
  } else if (!request.body.empty() || !type.empty()) {
    throw Problem(
        kUnsupportedMedia,
        "Content-Type " + (type.empty() ? "is missing" : quote(type)) +
            "; send application/json, multipart/form-data, application/x-www-form-urlencoded, or a "
            "picture as image/* or application/octet-stream");
  }
  check_pictures();
}

void Fields::add(const std::string& name, std::string value) {
  textual_.insert(name);
  if (!object_.contains(name)) {
    object_[name] = std::move(value);
    return;
  }
  Json& there = object_[name];
  if (!there.is_array()) there = Json::array({there});
  there.push_back(std::move(value));
}

// Which of the two would count, nobody should have to know.
void Fields::check_not_in_query(const std::string& name) const {
  if (in_query_.contains(name)) invalid(name, "is in the query and in the body; send it once");
}

void Fields::add_picture(std::string bytes, std::string problem) {
  if (pictures_.size() == limits_.max_images)
    throw Problem(kInvalidRequest,
                  "more than " + std::to_string(limits_.max_images) + " pictures in one request");
  pictures_.push_back(std::move(bytes));
  picture_problems_.push_back(std::move(problem));
}

// In base64, or a data URL. One that is neither fails alone, as one that cannot be decoded does.
void Fields::add_encoded_picture(const std::string& name, const std::string& text,
                                 const char* what) {
  auto bytes = decode_data_url(text);
  const bool address = text.starts_with("http://") || text.starts_with("https://");
  const std::string problem =
      bytes ? ""
      : address
          ? "the server fetches no addresses; send the picture itself, as base64 or a data URL"
          : what;
  add_picture(bytes ? std::move(*bytes) : "", bytes ? "" : "field \"" + name + "\": " + problem);
}

void Fields::check_pictures() const {
  const auto sound = [](const std::string& problem) { return problem.empty(); };
  if (!pictures_.empty() && std::none_of(picture_problems_.begin(), picture_problems_.end(), sound))
    throw Problem(kInvalidRequest, picture_problems_.front());
}

void Fields::read_json(const Request& request) {
  Json body;
  try {
    body = blip::read_json<Json>(request.body, json_limits(limits_));
  } catch (const JsonError& error) {
    throw Problem(kInvalidRequest, std::string("the body cannot be read as JSON: ") + error.what());
  }
  if (!body.is_object()) throw Problem(kInvalidRequest, "the body must be a JSON object");
  for (auto& [name, value] : body.items()) {
    if (!is_picture_field(name)) {
      check_not_in_query(name);
      if (value.is_null()) invalid(name, "must not be null; leave it out");
      object_[name] = std::move(value);
      continue;
    }
    if (name == "image" ? !value.is_string() : !value.is_array())
      invalid(name, name == "image" ? "must be a string" : "must be a list of strings");
    if (!value.is_array()) value = Json::array({std::move(value)});
    for (const Json& item : value) {
      if (!item.is_string()) invalid(name, "must be base64 or a data URL");
      add_encoded_picture(name, item.get_ref<const std::string&>(),
                          "is neither base64 nor a base64 data URL");
    }
  }
}

void Fields::read_parts(const Request& request, bool multipart) {
  for (FormPart& part : multipart ? read_multipart(request.header("content-type"), request.body)
                                  : read_urlencoded(request.body)) {
    const bool picture = is_picture_field(part.name);
    if (picture && (!part.filename.empty() || part.content_type.starts_with("image/"))) {
      add_picture(std::move(part.content));
    } else if (picture) {
      // A form's space was a plus: base64 that nobody escaped.
      for (char& c : part.content)
        if (c == ' ') c = '+';
      add_encoded_picture(part.name, part.content,
                          "is neither a file nor base64 nor a base64 data URL");
    } else {
      check_not_in_query(part.name);
      add(part.name, std::move(part.content));
    }
  }
}

const Json* Fields::find(const std::string& name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() ? nullptr : &*found;
}

bool Fields::has(const std::string& name) { return find(name) != nullptr; }

std::string Fields::checked(const std::string& name, const Json& value,
                            std::size_t max_characters) const {
  if (!value.is_string()) invalid(name, "must be text");
  const auto& text = value.get_ref<const std::string&>();
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  });
  if (static_cast<std::size_t>(characters) > max_characters || text.size() > 4 * max_characters)
    invalid(name, "is longer than " + std::to_string(max_characters) + " characters");
  if (!is_valid_utf8(text)) invalid(name, "is not UTF-8");
  return text;
}

std::string Fields::text(const std::string& name, const std::string& otherwise,
                         std::size_t max_characters) {
  const Json* value = find(name);
  return value == nullptr
             ? otherwise
             : checked(name, *value,
                       max_characters != 0 ? max_characters : limits_.max_text_characters);
}

std::string Fields::number_text(const std::string& name, std::size_t max_characters) {
  const Json* value = find(name);
  if (value == nullptr || value->is_string()) return text(name, "", max_characters);
  if (!value->is_number_integer()) invalid(name, "must be one whole number");
  return value->dump();
}

void Fields::add_text(const std::string& name, const Json& item, std::vector<std::string>& texts,
                      Empty empty) const {
  if (texts.size() == limits_.max_texts)
    invalid(name, "more than " + std::to_string(limits_.max_texts) + " texts in one request");
  texts.push_back(checked(name, item, limits_.max_text_characters));
  if (empty == Empty::kRefused && is_blank(texts.back()))
    invalid(name, "an empty text; give at least one word");
}

std::vector<std::string> Fields::texts(const std::string& one, const std::string& many,
                                       Empty empty) {
  std::vector<std::string> texts;
  for (const auto& name : {one, many}) {
    const Json* value = find(name);
    if (value == nullptr) continue;
    if (!textual_.contains(name) && value->is_array() != (name == many))
      invalid(name, name == many ? "must be a list of texts" : "must be text");
    if (!value->is_array())
      add_text(name, *value, texts, empty);
    else
      for (const Json& item : *value) add_text(name, item, texts, empty);
  }
  return texts;
}

std::vector<std::string> Fields::list(const std::string& name, std::size_t most) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_array() && !textual_.contains(name)) invalid(name, "must be a list of texts");
  const Json items = value->is_array() ? *value : Json::array({*value});
  if (items.size() > most) invalid(name, "more than " + std::to_string(most) + " texts");
  std::vector<std::string> texts;
  for (const Json& item : items) {
    texts.push_back(checked(name, item, limits_.max_text_characters));
    if (is_blank(texts.back())) invalid(name, "an empty text; give at least one word");
  }
  return texts;
}

std::vector<std::string> Fields::unpacked(std::vector<std::string> texts,
                                          const std::string& name) const {
  if (texts.size() != 1 || !texts.front().starts_with('[')) return texts;
  Json list;
  try {
    list = blip::read_json<Json>(texts.front(), json_limits(limits_));
  } catch (const JsonError&) {  // a text that only begins like a list
    return texts;
  }
  const bool all_texts =
      std::all_of(list.begin(), list.end(), [](const Json& item) { return item.is_string(); });
  if (!all_texts) return texts;
  texts.clear();
  for (const Json& item : list) add_text(name, item, texts, Empty::kRefused);
  return texts;
}

std::uint64_t Fields::whole(const std::string& name, std::uint64_t otherwise, std::uint64_t low,
                            std::uint64_t high) {
  const Json* value = find(name);
  if (value == nullptr) return otherwise;
  std::uint64_t result = 0;
  const bool is_text = textual_.contains(name) && value->is_string();
  const bool is_whole =
      is_text ? parse(value->get_ref<const std::string&>(), result) : value->is_number_unsigned();
  if (!is_text && is_whole) result = value->get<std::uint64_t>();
  // JSON has one kind of number: 3.0 is 3.
  const bool round = !is_text && value->is_number_float() && value->get<double>() >= 0 &&
                     value->get<double>() < 9e15 &&
                     value->get<double>() == std::floor(value->get<double>());
  if (round) result = static_cast<std::uint64_t>(value->get<double>());
  if ((!is_whole && !round) || result < low || result > high)
    invalid(name,
            "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return result;
}

double Fields::number(const std::string& name, double otherwise, double low, double high) {
  const Json* value = find(name);
  if (value == nullptr) return otherwise;
  double result = 0;
  const bool is_text = textual_.contains(name) && value->is_string();
  const bool is_number =
      is_text ? parse(value->get_ref<const std::string&>(), result) : value->is_number();
  if (!is_text && is_number) result = value->get<double>();
  if (!is_number || !(result >= low && result <= high)) {
    invalid(name, "must be a number from " + Json(low).dump() + " to " + Json(high).dump());
  }
  return result;
}

bool Fields::flag(const std::string& name, bool otherwise) {
  const Json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!textual_.contains(name) && value->is_boolean()) return value->get<bool>();
  if (textual_.contains(name) && value->is_string()) {
    const auto& text = value->get_ref<const std::string&>();
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
  }
  invalid(name, "must be true or false");
}

void Fields::reject_unknown() const {
  for (const auto& [name, value] : object_.items())
    if (!known_.contains(name)) throw Problem(kInvalidRequest, "unknown field " + quote(name));
}

}  // namespace blip::server
