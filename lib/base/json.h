// JSON as text. The one reader of foreign JSON: model folders, manifests, request bodies and stored
// rows all go through it. And the one writer.
//
// nlohmann::json parses without recursion, but copies, compares and prints values recursively, and
// a value takes many times the bytes of its text. So what is read is bounded while it is read:
// nothing that this reader returns can exhaust the stack or the memory of the code that walks it.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace blip {

struct JsonLimits {
  std::size_t max_bytes = std::size_t{64} << 20;  // of the text
  std::size_t max_depth = 64;                     // arrays and objects inside each other
  std::size_t max_values = 1'000'000;             // scalars, arrays and objects together
  bool exact_integers = false;  // one that 64 bits do not hold is refused, not rounded
};

// What is wrong with a text, without its name: "nested deeper than 64 levels", "parse error at line
// 1, column 7: ...".
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Reads one JSON value (RFC 8259, UTF-8). Throws JsonError for what is not JSON, exceeds a limit,
// or gives a key of an object twice: which of the two counts, readers disagree about. Defined for
// nlohmann::json and nlohmann::ordered_json; takes time and memory in proportion to the text.
template <class Json>
Json read_json(std::string_view text, const JsonLimits& limits = {});

// A value on one line. Bytes in it that are not UTF-8 become U+FFFD.
template <class Json>
std::string json_text(const Json& value);

// A value short enough for a message: at most 60 bytes of JSON text in ASCII.
template <class Json>
std::string shown(const Json& value);

extern template nlohmann::json read_json(std::string_view, const JsonLimits&);
extern template nlohmann::ordered_json read_json(std::string_view, const JsonLimits&);
extern template std::string json_text(const nlohmann::json&);
extern template std::string json_text(const nlohmann::ordered_json&);
extern template std::string shown(const nlohmann::json&);
extern template std::string shown(const nlohmann::ordered_json&);

}  // namespace blip
