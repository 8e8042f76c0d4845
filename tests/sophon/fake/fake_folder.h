// A compiled folder for the fake chip: the bmodel with every network of tools/sophon/NETWORKS.md,
// and its manifest.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace fake {

constexpr int kS = 4, kN = 3, kDv = 8, kD = 8, kL = 2, kH = 2, kT = 6, kE = 4, kC = 12, kP = 4,
              kV = 40;
constexpr int kh = kD / kH, kK = 2 * kL * kH;
constexpr int kPad = 0, kCls = 1, kSep = 2, kDec = 3, kEnc = 4;
inline const std::string kDigest(64, 'a');
inline const std::string kEnding = "_aaaaaaaaaaaa";

struct Options {
  std::string chip = "bm1688";
  std::vector<int> step_rows = {1, 3}, text_rows = {1, 4};
  bool reorders = true;  // steps of several rows take parents
  int prompt = kP;
  int cores = 1;
  std::string sha256 = "", head_sha256 = "";  // of the bmodel, as the manifest says; "": none
};

inline std::string shape(std::initializer_list<int> dims) {
  std::string text;
  for (const int dim : dims) {
    if (!text.empty()) text += ',';
    text += std::to_string(dim);
  }
  return text + "\n";
}

struct Network {
  std::string role, kind, ports;
  int rows;
  std::string name() const { return role + "_" + std::to_string(rows) + kEnding; }
};

inline std::vector<Network> networks(const Options& o) {
  const std::string f = "0 ", i = "6 ", in = "in ", out = "out ";
  const std::string tokens = shape({1, kN, kDv}), cross = shape({1, kK, kh, kN}),
                    text_cross = shape({1, kN, kK, kh}),
                    question_cross = shape({2 * kL, kN, kH, kh}),
                    answer_cross = shape({2 * kL, kT, kH, kh});
  std::vector<Network> list = {
      {"vision", "vision",
       in + f + shape({1, 3, kS, kS}) + out + f + tokens + out + f + shape({1, kE}), 1},
      {"question", "question",
       in + i + shape({1, kT}) + in + f + shape({1, 1, 1, kT}) + in + f + question_cross + out + f +
           shape({1, kT, kD}) + out + f + answer_cross,
       1}};
  // Each part's in another of the layouts that a folder may have.
  for (const auto& [maker, made] : {std::pair("text_cross", text_cross),
                                    {"question_cross", question_cross},
                                    {"caption_cross", cross}})
    list.push_back({maker, maker, in + f + tokens + out + f + made, 1});
  if (o.prompt > 0)
    list.push_back({"caption_prefill", "prefill",
                    in + i + shape({1, o.prompt}) + in + f + shape({1, 1, o.prompt}) + in + f +
                        cross + out + f + shape({1, kV}) + out + f + shape({1, kK, kC, kh}),
                    1});
  for (const int b : o.text_rows) {
    const std::string text = in + i + shape({b, kT}) + in + f + shape({b, 1, 1, kT});
    list.push_back(
        {"match", "match",
         text + in + f + text_cross + out + f + shape({b, 2}) + out + f + shape({b, kT, kD}), b});
    list.push_back({"text", "text", text + out + f + shape({b, kE}), b});
  }
  for (const int b : o.step_rows) {
    const std::string cache = shape({b, kK, kC, kh}),
                      fed = in + i + shape({b, 1}) + in + i + shape({1, 1}) + in + f + cache;
    const std::string result = out + f + shape({b, kV}) + out + f + cache;
    const std::string kind = o.reorders && b > 1 ? "reordering_step" : "step",
                      parents = o.reorders && b > 1 ? in + i + shape({b}) : "";
    list.push_back({"caption_step", kind, fed + in + f + cross + parents + result, b});
    list.push_back({"answer_step", kind,
                    fed + in + f + answer_cross + in + f + shape({1, 1, 1, kT}) + parents + result,
                    b});
  }
  return list;
}

// A bmodel's head with the chip's name, then the lines.
inline std::string bmodel(std::string chip, const std::string& lines) {
  for (char& c : chip) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  const std::uint32_t size = static_cast<std::uint32_t>(chip.size());
  std::vector<std::uint32_t> words = {0xff55aaee, 64, 28 + size,
                                      static_cast<std::uint32_t>(lines.size())};
  words.resize(16);
  for (const std::uint32_t word : {16u, 12u | (8u << 16), 0u, 4u << 16, 12u, 4u, size})
    words.push_back(word);
  return std::string(reinterpret_cast<const char*>(words.data()), words.size() * 4) + chip + lines;
}

inline std::string lines(const std::vector<Network>& list, int cores) {
  std::string text;
  for (const Network& n : list)
    text += "network " + n.name() + " " + n.kind + " " + std::to_string(cores) + "\n" + n.ports;
  return text;
}

inline std::string manifest(const Options& o, std::size_t bytes) {
  std::string list;
  for (const Network& n : networks(o))
    list += (list.empty() ? "" : ", ") + std::string("{\"role\": \"") + n.role +
            "\", \"name\": \"" + n.name() +
            "\", \"file\": \"model.bmodel\", \"bytes\": " + std::to_string(bytes) +
            (o.sha256.empty() ? "" : ", \"sha256\": \"" + o.sha256 + "\"") +
            (o.head_sha256.empty() ? "" : ", \"head_sha256\": \"" + o.head_sha256 + "\"") +
            ", \"rows\": " + std::to_string(n.rows) + "}";
  const auto number = [](int value) { return std::to_string(value); };
  return R"({"format": "blip-bmodels", "version": 1, "chip": ")" + o.chip + R"(", "cores": )" +
         number(o.cores) + R"(, "dtype": "f32", "checkpoint": {"name": "fake", "sha256": ")" +
         kDigest + R"("}, "vocabulary": {"file": "vocab.txt", "sha256": ")" + kDigest +
         R"(", "size": )" + number(kV) + R"(}, "image": {"size": )" + number(kS) +
         R"(, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "tokens": )" + number(kN) +
         R"(, "width": )" + number(kDv) + R"(}, "text": {"width": )" + number(kD) +
         R"(, "layers": )" + number(kL) + R"(, "heads": )" + number(kH) + R"(, "length": )" +
         number(kT) + R"(, "embed": )" + number(kE) + R"(}, "decoder": {"slots": )" + number(kC) +
         R"(, "prompt": )" + number(o.prompt) +
         R"(}, "special": {"pad": 0, "cls": 1, "sep": 2, "dec": 3, "enc": 4}, )"
         R"("tasks": ["caption", "itm", "itc", "ask"], )"
         R"("prompt": "", "networks": [)" +
         list + "]}";
}

// Writes FOLDER/model.bmodel and FOLDER/manifest.json.
inline void write(const std::string& folder, const Options& options) {
  const std::string file = bmodel(options.chip, lines(networks(options), options.cores));
  std::ofstream(folder + "/model.bmodel", std::ios::binary) << file;
  std::ofstream(folder + "/manifest.json") << manifest(options, file.size());
}

}  // namespace fake
