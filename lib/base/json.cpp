#include "base/json.h"

#include <cstdint>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

namespace blip {
namespace {

constexpr std::size_t kShownBytes = 60;
constexpr std::size_t kReasonBytes = 200;

// Builds the value from the parser's events and stops at the first limit that is passed.
template <class Json>
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(typename Json::number_integer_t value) override { return put(value); }
  bool number_unsigned(typename Json::number_unsigned_t value) override { return put(value); }
  // Integers that are too large come as these too.
  bool number_float(typename Json::number_float_t value, const std::string& text) override {
    if (limits_.exact_integers && text.find_first_of(".eE") == std::string::npos)
      throw JsonError("64 bits do not hold the number " + text.substr(0, kShownBytes) +
                      "; write it as a string");
    return put(value);
  }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(typename Json::binary_t&) override { return false; }  // no event of JSON text

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    Level& level = levels_.back();
    if (!level.keys.insert(name).second)
      throw JsonError("the key " + shown(Json(name)) + " appears twice in one object");
    level.key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const typename Json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: ..."
    std::string what = error.what();
    if (const auto end = what.find("] "); end != std::string::npos) what.erase(0, end + 2);
    // It quotes what was read last, a string of any length.
    if (what.size() > kReasonBytes) what = what.substr(0, kReasonBytes) + "...";
    throw JsonError(what);
  }

 private:
  struct Level {
    Json* value;
    std::string key;             // of the member that comes next
    std::set<std::string> keys;  // of an object, so far
  };

  Json* add(Json value) {
    if (++values_ > limits_.max_values) {
      throw JsonError("more than " + std::to_string(limits_.max_values) + " values");
    }
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_array()) {
      auto& elements = level.value->template get_ref<typename Json::array_t&>();
      return &elements.emplace_back(std::move(value));
    }
    auto& members = level.value->template get_ref<typename Json::object_t&>();
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
      // Its own insertion searches all members before; the set of keys has done that.
      using Vector = typename Json::object_t::Container;
      return &static_cast<Vector&>(members)
                  .emplace_back(std::move(level.key), std::move(value))
                  .second;
    } else {
      return &members.emplace(std::move(level.key), std::move(value)).first->second;
    }
  }

  template <class Value>
  bool put(Value&& value) {
    add(Json(std::forward<Value>(value)));
    return true;
  }

  bool open(Json container) {
    if (levels_.size() == limits_.max_depth) {
      throw JsonError("nested deeper than " + std::to_string(limits_.max_depth) + " levels");
    }
    levels_.push_back({add(std::move(container)), {}, {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  const JsonLimits limits_;
  std::size_t values_ = 0;
  Json root_;
  // Pointers into root_: an open container's siblings are complete, so that nothing moves it before
  // it is closed.
  std::vector<Level> levels_;
};

}  // namespace

template <class Json>
Json read_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw JsonError(std::to_string(text.size()) + " bytes; at most " +
                    std::to_string(limits.max_bytes) + " are read");
  }
  Builder<Json> builder(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) throw JsonError("not JSON");
  return builder.take();
}

template <class Json>
std::string json_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

template <class Json>
std::string shown(const Json& value) {
  // Only so much of a text is printed as can be shown: a string may be as long as its file.
  if (value.is_string() && value.template get_ref<const std::string&>().size() > 4 * kShownBytes) {
    return shown(Json(value.template get_ref<const std::string&>().substr(0, 4 * kShownBytes)));
  }
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kShownBytes) text = text.substr(0, kShownBytes - 3) + "...";
  return text;
}

template nlohmann::json read_json(std::string_view, const JsonLimits&);
template nlohmann::ordered_json read_json(std::string_view, const JsonLimits&);
template std::string json_text(const nlohmann::json&);
template std::string json_text(const nlohmann::ordered_json&);
template std::string shown(const nlohmann::json&);
template std::string shown(const nlohmann::ordered_json&);

}  // namespace blip
