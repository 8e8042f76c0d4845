#include "io/json_object.h"

#include <cmath>
#include <utility>

#include "blip/error.h"

namespace blip::io {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  try {
    return read_json<Json>(text);
  } catch (const JsonError& error) {
    fail(where + ": not valid JSON: " + error.what());
  }
}

JsonObject::JsonObject(const Json& json, std::string where)
    : json_(&json), where_(std::move(where)) {
  if (!json_->is_object()) fail(where_ + " is " + shown(*json_) + "; expected an object");
}

const Json* JsonObject::find(const char* key) const {
  const auto it = json_->find(key);
  return it == json_->end() || it->is_null() ? nullptr : &*it;
}

std::string JsonObject::path(const char* key) const {
  return where_ + (where_.find(": ") == std::string::npos ? ": " : ".") + key;
}

void JsonObject::refuse(const char* key, const Json& value, const std::string& expected) const {
  fail(path(key) + " is " + shown(value) + "; expected " + expected);
}

std::optional<int> JsonObject::integer(const char* key, int low, int high) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return checked(key, *value, low, high);
}

std::optional<int> JsonObject::square(const char* key, int low, int high) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return checked(key, *value, low, high);
  const Json *height = nullptr, *width = nullptr;
  if (value->is_array() && value->size() == 2) {
    height = &(*value)[0];
    width = &(*value)[1];
  } else if (value->is_object() && value->contains("height") && value->contains("width")) {
    height = &(*value)["height"];
    width = &(*value)["width"];
  }
  if (height == nullptr) refuse(key, *value, "an integer or a height and a width");
  const int h = checked(key, *height, low, high), w = checked(key, *width, low, high);
  if (h != w) refuse(key, *value, "a square (this program supports square pictures only)");
  return h;
}

std::optional<double> JsonObject::number(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(key, *value, "a number");
  return value->get<double>();
}

std::optional<bool> JsonObject::boolean(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(key, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonObject::string(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(key, *value, "a string");
  return value->get<std::string>();
}

std::optional<std::array<float, 3>> JsonObject::triple(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::array<float, 3> out{};
  bool good = value->is_array() && value->size() == 3;
  for (std::size_t i = 0; good && i < 3; ++i) {
    good = (*value)[i].is_number() && std::isfinite((*value)[i].get<float>());
    if (good) out[i] = (*value)[i].get<float>();
  }
  if (!good) refuse(key, *value, "three numbers");
  return out;
}

int JsonObject::checked(const char* key, const Json& value, int low, int high) const {
  const auto range = "an integer of " + std::to_string(low) + " to " + std::to_string(high);
  if (!value.is_number_integer()) refuse(key, value, range);
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(high))
    refuse(key, value, range);
  const auto number = value.get<std::int64_t>();
  if (number < low || number > high) refuse(key, value, range);
  return static_cast<int>(number);
}

const Json& JsonObject::required(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) fail(path(key) + " is missing");
  return *value;
}

int JsonObject::required_integer(const char* key, int low, int high) const {
  return checked(key, required(key), low, high);
}

std::uint64_t JsonObject::required_size(const char* key) const {
  const Json& value = required(key);
  if (!value.is_number_unsigned()) refuse(key, value, "an integer of 0 or more");
  return value.get<std::uint64_t>();
}

std::vector<std::string> JsonObject::required_strings(const char* key) const {
  const Json& list = required(key);
  if (!list.is_array()) refuse(key, list, "a list of strings");
  std::vector<std::string> strings;
  for (const Json& value : list) {
    if (!value.is_string()) refuse(key, list, "a list of strings");
    strings.push_back(value.get<std::string>());
  }
  return strings;
}

std::string JsonObject::required_string(const char* key) const {
  required(key);
  return *string(key);
}

JsonObject JsonObject::required_object(const char* key) const { return {required(key), path(key)}; }

std::vector<JsonObject> JsonObject::required_objects(const char* key) const {
  const Json& list = required(key);
  if (!list.is_array()) refuse(key, list, "a list");
  std::vector<JsonObject> objects;
  for (std::size_t i = 0; i < list.size(); ++i)
    objects.emplace_back(list[i], path(key) + "[" + std::to_string(i) + "]");
  return objects;
}

std::array<float, 3> JsonObject::required_triple(const char* key) const {
  required(key);
  return *triple(key);
}

}  // namespace blip::io
