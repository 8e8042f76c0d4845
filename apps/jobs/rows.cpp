#include "jobs/rows.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "blip/error.h"
#include "io/file.h"

namespace blip::jobs {
namespace {

namespace fs = std::filesystem;

bool is_utf8(const std::string& text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::type_error&) {
    return false;
  }
}

std::string line(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

// A field of CSV: in quotes where it holds what would end it, or what a reader might strip.
std::string field(const std::string& text) {
  const bool blank = !text.empty() && (text.front() == ' ' || text.back() == ' ');
  if (!blank && text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

// As it is seen from the folder of the file.
std::string relative_name(const std::string& name, const std::string& path) {
  std::error_code error;
  const fs::path folder = fs::absolute(path, error).parent_path().lexically_normal();
  const fs::path picture = fs::absolute(name, error).lexically_normal();
  return error ? name : picture.lexically_relative(folder).string();
}

void require_utf8(const std::string& name, const char* format) {
  if (!is_utf8(name))
    throw Error(ErrorCode::kImage, std::string(format) + " cannot hold its name, which is not " +
                                       "UTF-8; rename it, or write a .jsonl file");
}

}  // namespace

Format format_of(const std::string& path) {
  const fs::path name = fs::path(path).filename();
  const std::string ending = name.extension().string();
  if (name == "metadata.jsonl") return Format::kMetadata;
  if (ending == ".jsonl") return Format::kJsonl;
  if (ending == ".csv") return Format::kCsv;
  if (ending == ".json") return Format::kCoco;
  throw Error(ErrorCode::kUsage, "cannot tell the format of \"" + path +
                                     "\" by its name; end it with .jsonl (metadata.jsonl: for the "
                                     "datasets library), .csv or .json (COCO results)");
}

std::string preamble(Format format) { return format == Format::kCsv ? "image,caption\n" : ""; }

std::string row(Format format, const std::string& path, const Caption& caption) {
  switch (format) {
    case Format::kJsonl:
      return line(caption.object);
    case Format::kCsv:
      require_utf8(caption.name, "CSV");
      return field(caption.name) + ',' + field(caption.text) + '\n';
    case Format::kMetadata:
      require_utf8(caption.name, "metadata.jsonl");
      return line({{"file_name", relative_name(caption.name, path)}, {"text", caption.text}});
    case Format::kCoco:
      require_utf8(caption.name, "COCO's JSON");
      return line({{"image_id", coco_id(caption.name)}, {"caption", caption.text}});
  }
  return "";
}

std::string rows_path(Format format, const std::string& path) {
  return format == Format::kCoco ? path + ".rows" : path;
}

void finish(Format format, const std::string& path) {
  if (format != Format::kCoco) return;
  std::ifstream rows(rows_path(format, path), std::ios::binary);
  if (!rows) throw Error(ErrorCode::kIo, "cannot open " + rows_path(format, path));
  io::AtomicFile file(path);
  std::string text = "[", one;
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  for (bool first = true; std::getline(rows, one); first = false) {
    text += (first ? "\n" : ",\n") + one;
    if (text.size() < kBlock) continue;
    file.write(text);
    text.clear();
  }
  if (rows.bad()) throw Error(ErrorCode::kIo, "cannot read " + rows_path(format, path));
  file.write(text + "\n]\n");
  file.commit();
}

Json coco_id(const std::string& name) {
  const std::string stem = fs::path(name).stem().string();
  const std::size_t last = stem.find_last_not_of("0123456789");
  const std::string digits = stem.substr(last == std::string::npos ? 0 : last + 1);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || digits.empty()) return stem;
  return number;
}

}  // namespace blip::jobs
