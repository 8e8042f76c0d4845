// Checkpoints for tests: the committed ones, and altered copies in a temporary folder.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "blip/error.h"
#include "io/tensor_file.h"
#include "model/checkpoint.h"

namespace blip::model {

namespace fs = std::filesystem;
using Json = nlohmann::json;

inline std::string data_path(const std::string& name) {
  return std::string(BLIP_TEST_DATA) + "/model/" + name;
}

inline Json load_json(const std::string& path) { return Json::parse(read_text(path)); }

// A folder that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "blip-model-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
  }

 private:
  std::string path_;
};

// A tensor as a safetensors file holds it.
struct RawTensor {
  std::string type;  // "F16", ...
  std::vector<std::int64_t> shape;
  std::string bytes;
};
using RawTensors = std::map<std::string, RawTensor>;

inline RawTensor zeros(std::vector<std::int64_t> shape) {
  std::size_t count = 1;
  for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
  return {"F16", std::move(shape), std::string(2 * count, '\0')};
}

inline RawTensors read_raw(const std::string& path) {
  RawTensors out;
  const auto file = io::open_safetensors(path);
  for (const io::TensorView& view : file->tensors()) {
    const auto* data = reinterpret_cast<const char*>(view.data.data());
    const char* type = view.type == io::ElementType::bf16  ? "BF16"
                       : view.type == io::ElementType::f32 ? "F32"
                                                           : "F16";
    out[view.name] = {type, view.shape, std::string(data, view.data.size())};
  }
  return out;
}

inline std::string safetensors_bytes(const RawTensors& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.type},
                    {"shape", tensor.shape},
                    {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + text + data;
}

// The committed caption or combined model, to be altered and opened.
struct Draft {
  explicit Draft(const std::string& name) {
    tensors = read_raw(data_path(name + "/model.safetensors"));
    config = load_json(data_path(name + "/config.json"));
    vocabulary = read_text(data_path(name + "/vocab.txt"));
  }

  Checkpoint open() const {
    folder.write("model.safetensors", safetensors_bytes(tensors));
    folder.write("config.json", config.dump());
    folder.write("vocab.txt", vocabulary);
    return Checkpoint::open(folder.path());
  }

  RawTensors tensors;
  Json config;
  std::string vocabulary;
  TemporaryFolder folder;
};

// The message of the Error(code) that `act` must throw.
inline std::string error_of(ErrorCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), std::string(to_string(code))) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

}  // namespace blip::model
