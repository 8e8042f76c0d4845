// Settings in JSON: reading the fields of an object with the checks that every one needs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace blip::io {

using Json = nlohmann::json;

// As read_json (base/json.h) with its default limits; throws Error(kModel) naming `where`.
Json parse_json(std::string_view text, const std::string& where);

// One JSON object and the path that leads to it, so that every message says where. Every reader but
// those of required fields gives nullopt where the key is absent or null. Throws Error(kModel). The
// JSON must outlive it.
class JsonObject {
 public:
  JsonObject(const Json& json, std::string where);

  const Json* find(const char* key) const;  // nullptr where the key is absent or null
  std::string path(const char* key) const;  // "manifest.json: image.size"
  [[noreturn]] void refuse(const char* key, const Json& value, const std::string& expected) const;

  std::optional<int> integer(const char* key, int low, int high) const;
  // A size given as an integer, as [height, width] or as {"height", "width"}; pictures are squares.
  std::optional<int> square(const char* key, int low, int high) const;
  std::optional<double> number(const char* key) const;
  std::optional<bool> boolean(const char* key) const;
  std::optional<std::string> string(const char* key) const;
  std::optional<std::array<float, 3>> triple(const char* key) const;

  const Json& required(const char* key) const;
  int required_integer(const char* key, int low, int high) const;
  std::uint64_t required_size(const char* key) const;  // 0 and up
  std::string required_string(const char* key) const;
  std::vector<std::string> required_strings(const char* key) const;  // a list
  JsonObject required_object(const char* key) const;
  std::vector<JsonObject> required_objects(const char* key) const;  // of a list
  std::array<float, 3> required_triple(const char* key) const;

 private:
  int checked(const char* key, const Json& value, int low, int high) const;

  const Json* json_;
  std::string where_;
};

}  // namespace blip::io
