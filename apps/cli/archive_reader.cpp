#include "cli/archive_reader.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "blip/blip.h"
#include "blip/error.h"
#include "cli/archive_open.h"

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
  Impl(std::string path, const SourceOptions& given) : options(given), members(std::move(path)) {}

  std::optional<Input> picture(const Member& member, const Wanted& wanted, LeftOut& left_out);
  bool read_head(Input& input, std::string& bytes);
  void read_rest(Input& input, std::string& bytes);

  const SourceOptions& options;
  Members members;
};

ArchiveReader::ArchiveReader(std::string path, const SourceOptions& options)
    : impl_(std::make_unique<Impl>(std::move(path), options)) {}

ArchiveReader::~ArchiveReader() = default;

std::optional<Input> ArchiveReader::next(const Wanted& wanted, LeftOut& left_out) {
  while (const std::optional<Member> member = impl_->members.next()) {
    if (!member->has_name) return Input{impl_->members.path(), member->damage};
    if (std::optional<Input> input = impl_->picture(*member, wanted, left_out)) return input;
  }
  return std::nullopt;
}

// The member as an input, or nothing for one that is no picture.
std::optional<Input> ArchiveReader::Impl::picture(const Member& member, const Wanted& wanted,
                                                  LeftOut& left_out) {
  const auto type = ::archive_entry_filetype(member.entry);
  if (type == AE_IFDIR) return std::nullopt;
  // A hard link may have the bytes of its file with it.
  if (type == AE_IFLNK || (::archive_entry_hardlink(member.entry) != nullptr &&
                           ::archive_entry_size(member.entry) == 0)) {
    ++left_out.links;
    return std::nullopt;
  }
  if (type != AE_IFREG) {
    ++left_out.special;
    return std::nullopt;
  }
  if (member.name[member.name.rfind('/') + 1] == '.') {
    ++left_out.hidden;
    return std::nullopt;
  }
  if (options.filter.excludes(member.name)) {
    ++left_out.excluded;
    return std::nullopt;
  }
  Input input{members.path() + "/" + member.name, ""};
  input.archive = members.path().size();
  std::string bytes;
  if (!has_image_ending(member.name) && !read_head(input, bytes)) {
    ++left_out.others;
    return std::nullopt;
  }
  const timespec time{::archive_entry_mtime(member.entry),
                      ::archive_entry_mtime_nsec(member.entry)};
  if (!options.filter.is_newer(time)) {
    ++left_out.older;
    return std::nullopt;
  }
  if (!member.damage.empty()) input.error = member.damage;
  if (input.error.empty() && (!wanted || wanted(input.name))) read_rest(input, bytes);
  return input;
}

// Whether it may be a picture: one that cannot be read counts as one, so that its error is told.
bool ArchiveReader::Impl::read_head(Input& input, std::string& bytes) {
  bytes.resize(kImageHeadBytes);
  try {
    bytes.resize(members.read(bytes));
    return looks_like_image(std::as_bytes(std::span(bytes)));
  } catch (const Error& error) {
    input.error = error.what();
    return true;
  }
}

void ArchiveReader::Impl::read_rest(Input& input, std::string& bytes) {
  constexpr std::size_t kBlock = std::size_t{64} << 10;
  try {
    for (std::size_t got = 1; got > 0;) {
      const std::size_t used = bytes.size();
      bytes.resize(used + kBlock);
      got = members.read(std::span(bytes).subspan(used));
      bytes.resize(used + got);
      if (options.max_bytes != 0 && bytes.size() > options.max_bytes) {
        input.error = input.name + " is larger than the limit of " +
                      std::to_string(options.max_bytes) + " bytes";
        return;
      }
    }
  } catch (const Error& error) {
    input.error = error.what();
    return;
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
