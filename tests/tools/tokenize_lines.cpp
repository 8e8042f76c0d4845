// Runs the tokenizer over lines of JSON, for tests/reference/text.py. Developers only; not
// installed.
//
//   tokenize_lines [--cased] [--vocab vocab.txt] [--max-length N] < lines > ids
//
// A line is a string (answer: its ids), a list of ids (answer: the decoded text), {"hex":
// "6162ff"}, raw bytes as hex (answer: ids), or {"normalize": "text"} (answer: the normalised
// text).
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "blip/error.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"

namespace {

using nlohmann::json;

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

std::string normalized(const std::string& text, bool lowercase) {
  std::string out;
  for (char32_t c : blip::text::normalize(blip::decode_utf8(text), {lowercase, lowercase, true}))
    blip::append_utf8(out, c);
  return out;
}

json answer(const blip::text::Tokenizer& tokenizer, const json& line, bool lowercase,
            int max_length) {
  if (line.is_array()) return tokenizer.decode(line.get<std::vector<std::int32_t>>());
  if (line.contains("normalize"))
    return normalized(line["normalize"].get<std::string>(), lowercase);
  const std::string text =
      line.is_object() ? from_hex(line.at("hex").get<std::string>()) : line.get<std::string>();
  return tokenizer.encode(text, max_length).ids;
}

int run(int argc, char** argv) {
  bool lowercase = true;
  int max_length = 0;
  std::vector<std::string> tokens = blip::text::bundled_tokens();
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--cased") {
      lowercase = false;
    } else if (option == "--vocab" && i + 1 < argc) {
      std::ifstream file(argv[++i], std::ios::binary);
      tokens = blip::text::parse_vocab_txt(std::string(std::istreambuf_iterator<char>(file), {}));
    } else if (option == "--max-length" && i + 1 < argc) {
      max_length = std::stoi(argv[++i]);
    } else {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      return 2;
    }
  }
  blip::text::Vocabulary vocabulary = blip::text::official_vocabulary(std::move(tokens));
  vocabulary.normalizer.lowercase = vocabulary.normalizer.strip_accents = lowercase;
  const blip::text::Tokenizer tokenizer(std::move(vocabulary));
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(tokenizer, json::parse(line), lowercase, max_length).dump() << '\n';
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tokenize_lines: %s\n", error.what());
    return 1;
  }
}
