// What a client sent, whatever the form: JSON, multipart, urlencoded or a bare picture, with
// options in the query.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/ascii.h"
#include "server/problem.h"

namespace blip::server {

struct InputLimits {
  std::size_t max_images = 16, max_texts = 256, max_text_characters = 1024;
};

// Reads fields by name; every reader throws Problem(invalid_request) that names the field.
class Fields {
 public:
  Fields(const Request& request, const InputLimits& limits);

  const std::vector<std::string>& pictures() const { return pictures_; }  // the files' bytes
  // Why there are none of this one; "" = there are. Where all of several are so, the constructor
  // throws.
  const std::string& picture_problem(std::size_t index) const { return picture_problems_[index]; }

  bool has(const std::string& name);
  // max_characters: a limit of this field's own; 0 = that of all texts.
  std::string text(const std::string& name, const std::string& otherwise = "",
                   std::size_t max_characters = 0);
  // Of a number its text: as it was sent or, of one in JSON, its decimal digits. "" without one.
  std::string number_text(const std::string& name, std::size_t max_characters);
  // The field `one` (a text) and the field `many` (a list), together. None is empty, unless `empty`
  // allows it for some.
  enum class Empty { kRefused, kSome };
  std::vector<std::string> texts(const std::string& one, const std::string& many,
                                 Empty empty = Empty::kRefused);
  // The texts, or those of the list that the only one of them is, as JSON text.
  std::vector<std::string> unpacked(std::vector<std::string> texts, const std::string& name) const;
  // A list of at most so many texts; from a form or the query one text, too.
  std::vector<std::string> list(const std::string& name, std::size_t most);
  std::uint64_t whole(const std::string& name, std::uint64_t otherwise, std::uint64_t low,
                      std::uint64_t high);
  double number(const std::string& name, double otherwise, double low, double high);
  bool flag(const std::string& name, bool otherwise);

  // After all known fields were read: anything else is a mistake of the client, say a misspelt
  // option.
  void reject_unknown() const;

 private:
  const Json* find(const std::string& name);
  void add(const std::string& name, std::string value);
  void check_not_in_query(const std::string& name) const;
  void add_picture(std::string bytes, std::string problem = "");
  void add_encoded_picture(const std::string& name, const std::string& text, const char* what);
  void check_pictures() const;
  void read_json(const Request& request);
  void read_parts(const Request& request, bool multipart);
  std::string checked(const std::string& name, const Json& value, std::size_t max_characters) const;
  void add_text(const std::string& name, const Json& item, std::vector<std::string>& texts,
                Empty empty) const;

  InputLimits limits_;
  Json object_ = Json::object();
  std::set<std::string> textual_;  // fields from a form or the query, whose numbers are text
  std::set<std::string> in_query_;
  std::set<std::string> known_;
  std::vector<std::string> pictures_, picture_problems_;
};

}  // namespace blip::server
