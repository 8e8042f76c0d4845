#include "cli/archive_reader.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "blip/error.h"
#include "cli/archive_open.h"
#include "image/formats.h"

namespace blip::cli {
namespace {

constexpr std::array<std::string_view, 2> kPlain = {".tar", ".zip"};
constexpr std::array<std::string_view, 8> kCompressed = {
    ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4", ".tar.zstd"};

bool ends_with_any(const std::string& path, std::span<const std::string_view> endings) {
  std::string name = path;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

}  // namespace

bool is_compressed_archive(const std::string& path) { return ends_with_any(path, kCompressed); }

bool is_zip(const std::string& path) { return ends_with_any(path, std::span(kPlain).subspan(1)); }

bool is_archive(const std::string& path) {
  return ends_with_any(path, kPlain) || is_compressed_archive(path);
}

#ifdef BLIP_HAS_ARCHIVES

struct ArchiveReader::Impl {
  std::optional<Input> picture(archive_entry* entry, const Wanted& wanted, LeftOut& left_out);
  bool read_head(std::string& bytes);
  void read_rest(Input& input, std::string& bytes);

  std::string path;
  const SourceOptions* options = nullptr;
  Archive reader;
};

ArchiveReader::ArchiveReader(std::string path, const SourceOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->reader = open_archive(path);
  impl_->path = std::move(path);
  impl_->options = &options;
}

ArchiveReader::~ArchiveReader() = default;

std::optional<Input> ArchiveReader::next(const Wanted& wanted, LeftOut& left_out) {
  archive_entry* entry = nullptr;
  while (next_member(impl_->reader.get(), &entry, impl_->path))
    if (std::optional<Input> input = impl_->picture(entry, wanted, left_out)) return input;
  return std::nullopt;
}

// The member as an input, or nothing for one that is no picture.
std::optional<Input> ArchiveReader::Impl::picture(archive_entry* entry, const Wanted& wanted,
                                                  LeftOut& left_out) {
  const std::string member = archive_member_name(entry);
  if (::archive_entry_filetype(entry) == AE_IFDIR) return std::nullopt;
  if (::archive_entry_filetype(entry) != AE_IFREG) {
    ++left_out.special;
    return std::nullopt;
  }
  if (member[member.rfind('/') + 1] == '.') {
    ++left_out.hidden;
    return std::nullopt;
  }
  if (options->filter.excludes(member)) {
    ++left_out.excluded;
    return std::nullopt;
  }
  Input input{path + "/" + member, ""};
  input.archive = path.size();
  std::string bytes;
  if (!image::find_format_by_ending(member)) {
    const bool good = read_head(bytes);
    if (!good || !image::looks_like_picture(std::as_bytes(std::span(bytes)))) {
      ++left_out.others;
      return std::nullopt;
    }
  }
  const timespec time{::archive_entry_mtime(entry), ::archive_entry_mtime_nsec(entry)};
  if (!options->filter.is_newer(time)) {
    ++left_out.older;
    return std::nullopt;
  }
  if (!wanted || wanted(input.name)) read_rest(input, bytes);
  return input;
}

bool ArchiveReader::Impl::read_head(std::string& bytes) {
  bytes.resize(image::kFormatHead);
  const la_ssize_t got = ::archive_read_data(reader.get(), bytes.data(), bytes.size());
  bytes.resize(static_cast<std::size_t>(std::max<la_ssize_t>(got, 0)));
  return got > 0;
}

void ArchiveReader::Impl::read_rest(Input& input, std::string& bytes) {
  constexpr std::size_t kBlock = std::size_t{64} << 10;
  for (;;) {
    const std::size_t used = bytes.size();
    bytes.resize(used + kBlock);
    const la_ssize_t got = ::archive_read_data(reader.get(), bytes.data() + used, kBlock);
    bytes.resize(used + static_cast<std::size_t>(std::max<la_ssize_t>(got, 0)));
    if (got == 0) break;
    if (got == ARCHIVE_RETRY || got == ARCHIVE_WARN) continue;
    if (got < 0) {
      const char* reason = ::archive_error_string(reader.get());
      input.error = "cannot read " + input.name + ": " + (reason ? reason : "it is damaged");
      return;
    }
    if (options->max_bytes != 0 && bytes.size() > options->max_bytes) {
      input.error = input.name + " is larger than the limit of " +
                    std::to_string(options->max_bytes) + " bytes";
      return;
    }
  }
  input.bytes = std::make_shared<const std::string>(std::move(bytes));
}

#else

struct ArchiveReader::Impl {};

ArchiveReader::ArchiveReader(std::string path, const SourceOptions&) {
  throw Error(ErrorCode::kUnsupported,
              "cannot read archive " + path + ": this build lacks libarchive (BLIP_ARCHIVES)");
}

ArchiveReader::~ArchiveReader() = default;

std::optional<Input> ArchiveReader::next(const Wanted&, LeftOut&) { return std::nullopt; }

#endif

}  // namespace blip::cli
