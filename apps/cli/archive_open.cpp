#include "cli/archive_open.h"

#ifdef BLIP_HAS_ARCHIVES

#include <locale.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "blip/error.h"
#include "cli/interrupt.h"

namespace blip::cli {

// A file compressed by gzip, read by zlib: libarchive does not compare its checksums.
class GzipFile {
 public:
  // unset where the file is none.
  static std::unique_ptr<GzipFile> open(const std::string& path) {
    auto file = std::make_unique<GzipFile>(path);
    constexpr std::string_view kMagic = "\x1f\x8b";
    if (!file->fill() || !std::equal(kMagic.begin(), kMagic.end(), file->in_.begin()))
      return nullptr;
    return file;
  }

  explicit GzipFile(const std::string& path) : file_(path, std::ios::binary) {
    constexpr int kGzip = 16;  // zlib's way to say: with gzip's header and checksum
    if (::inflateInit2(&stream_, MAX_WBITS + kGzip) != Z_OK) throw std::bad_alloc();
  }
  ~GzipFile() { ::inflateEnd(&stream_); }
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;

  // The next bytes; none at the end. Where they are damaged, what comes before the damage comes,
  // then none, and problem() says how.
  std::span<const char> read() {
    stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
    stream_.avail_out = static_cast<uInt>(out_.size());
    while (problem_.empty() && !ended_ && stream_.avail_out > 0) step();
    const std::size_t got = out_.size() - stream_.avail_out;
    is_read_ = got == 0;
    return {out_.data(), got};
  }
  // "" = none so far.
  std::string problem() const { return is_read_ ? problem_ : ""; }

  // For libarchive, to which damage is an early end: it looks ahead of what it gives out, and would
  // not give out the rest after an error.
  static la_ssize_t read_block(archive*, void* gzip, const void** bytes) {
    const std::span<const char> block = static_cast<GzipFile*>(gzip)->read();
    *bytes = block.data();
    return static_cast<la_ssize_t>(block.size());
  }

 private:
  // False at the end of the file.
  bool fill() {
    file_.read(in_.data(), static_cast<std::streamsize>(in_.size()));
    stream_.next_in = reinterpret_cast<Bytef*>(in_.data());
    stream_.avail_in = static_cast<uInt>(file_.gcount());
    return stream_.avail_in > 0;
  }

  void step() {
    const bool more = stream_.avail_in > 0 || fill();
    if (!more && between_) {
      ended_ = true;
    } else if (!more) {
      problem_ = file_.bad() ? "it cannot be read" : "the file ends too early";
    } else if (between_ && *stream_.next_in == 0) {  // filled up with zeros, as tapes are
      ++stream_.next_in;
      --stream_.avail_in;
    } else {
      between_ = false;
      const int result = ::inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {  // another may follow
        between_ = true;
        ::inflateReset(&stream_);
      } else if (result != Z_OK) {
        problem_ = stream_.msg ? stream_.msg : "it is damaged";
      }
    }
  }

  static constexpr std::size_t kBlock = std::size_t{256} << 10;
  std::ifstream file_;
  std::vector<char> in_ = std::vector<char>(kBlock), out_ = std::vector<char>(kBlock);
  z_stream stream_{};
  bool between_ = false, ended_ = false;  // two compressed parts; the last one
  bool is_read_ = false;                  // all that came before the problem
  std::string problem_;
};

namespace {

Archive open_archive(const std::string& path, GzipFile* gzip) {
  constexpr std::size_t kBlock = std::size_t{256} << 10;
  Archive opened(::archive_read_new());
  archive* const reader = opened.get();
  if (reader == nullptr) throw std::bad_alloc();
  // No more than these: some of libarchive's filters start other programs.
  ::archive_read_support_format_tar(reader);
  ::archive_read_support_format_zip(reader);
  ::archive_read_support_format_empty(reader);
  ::archive_read_support_filter_bzip2(reader);
  ::archive_read_support_filter_xz(reader);
  ::archive_read_support_filter_zstd(reader);
  ::archive_read_support_filter_lz4(reader);
  // A header of zeros, which a damaged disk leaves, would be taken for the end.
  ::archive_read_set_format_option(reader, "tar", "read_concatenated_archives", "1");
  const int result = gzip
                         ? ::archive_read_open(reader, gzip, nullptr, GzipFile::read_block, nullptr)
                         : ::archive_read_open_filename(reader, path.c_str(), kBlock);
  if (result != ARCHIVE_OK) archive_failed(reader, "cannot open archive", path);
  return opened;
}

// A locale whose characters are UTF-8; unset where the system has none.
locale_t utf8_locale() {
  static const locale_t found = [] {
    locale_t made = nullptr;
    for (const char* name : {"C.UTF-8", "C.utf8", "en_US.UTF-8", "en_US.utf8"})
      if (made == nullptr) made = ::newlocale(LC_CTYPE_MASK, name, nullptr);
    return made;
  }();
  return found;
}

// The characters of this thread while it lives, if so wanted: libarchive converts names to those of
// the locale, which is "C" in this program.
class Utf8Characters {
 public:
  explicit Utf8Characters(bool wanted) {
    if (wanted && utf8_locale() != nullptr) before_ = ::uselocale(utf8_locale());
  }
  ~Utf8Characters() {
    if (before_ != nullptr) ::uselocale(before_);
  }
  Utf8Characters(const Utf8Characters&) = delete;
  Utf8Characters& operator=(const Utf8Characters&) = delete;

 private:
  locale_t before_ = nullptr;
};

std::string reason_of(archive* of) {
  const char* reason = ::archive_error_string(of);
  return reason ? reason : "it is damaged";
}

// Whether libarchive warns of what no picture needs: names that are not in the character set they
// are said to be in (their bytes stay as they are), and who may read the file.
bool is_harmless(std::string_view warning) {
  constexpr std::array<std::string_view, 3> kHarmless = {"converted", "acl", "ACL"};
  return std::any_of(kHarmless.begin(), kHarmless.end(), [&](std::string_view text) {
    return warning.find(text) != std::string_view::npos;
  });
}

}  // namespace

void archive_failed(archive* of, const std::string& what, const std::string& path) {
  throw Error(ErrorCode::kIo, what + " " + path + ": " + reason_of(of));
}

Members::Members(std::string path)
    : path_(std::move(path)),
      gzip_(GzipFile::open(path_)),
      reader_(open_archive(path_, gzip_.get())) {}

Members::~Members() = default;

void Members::fail(const std::string& what, const std::string& path) const {
  if (gzip_ && !gzip_->problem().empty())
    throw Error(ErrorCode::kIo, what + " " + path + ": gzip: " + gzip_->problem());
  archive_failed(reader_.get(), what, path);
}

// What is behind the archive's end has the checksum of the whole at its own.
void Members::finish() {
  if (!gzip_) return;
  while (!gzip_->read().empty()) stop_if_interrupted();
  if (!gzip_->problem().empty())
    throw Error(ErrorCode::kIo, "archive " + path_ + " is damaged, and with it what came out of " +
                                    "it, perhaps: gzip: " + gzip_->problem());
}

std::vector<int> Members::filters() const {
  std::vector<int> codes;
  if (gzip_) codes.push_back(ARCHIVE_FILTER_GZIP);
  for (int i = 0; i < ::archive_filter_count(reader_.get()); ++i)
    if (const int code = ::archive_filter_code(reader_.get(), i); code != ARCHIVE_FILTER_NONE)
      codes.push_back(code);
  return codes;
}

int Members::read_header() {
  stop_if_interrupted();
  const Utf8Characters characters(utf8_);
  const int result = ::archive_read_next_header(reader_.get(), &entry_);
  const int format = ::archive_format(reader_.get()) & ARCHIVE_FORMAT_BASE_MASK;
  if (utf8_ || format != ARCHIVE_FORMAT_ZIP) return result;
  // A name in a zip that cannot be converted is lost, one in a tar keeps its bytes, which a
  // conversion would normalize. What it is comes out with its first member.
  utf8_ = true;
  reader_.reset();
  gzip_ = GzipFile::open(path_);
  reader_ = open_archive(path_, gzip_.get());
  return read_header();
}

std::optional<Member> Members::next() {
  const int result = pending_ ? *std::exchange(pending_, std::nullopt) : read_header();
  if (result == ARCHIVE_RETRY) return damaged_header();
  if (result == ARCHIVE_EOF) {
    finish();
    return std::nullopt;
  }
  if (result < ARCHIVE_WARN) fail("cannot read on in archive", path_);
  ++number_;
  const char* const name = ::archive_entry_pathname(entry_);
  Member member{entry_, name ? name : ""};
  member.has_name = !member.name.empty();
  while (member.name.starts_with("./")) member.name.erase(0, 2);
  name_ = member.name;
  if (!member.has_name)
    member.damage = "member " + std::to_string(number_) + " of archive " + path_ +
                    " has no name that can be read; it is left out";
  else if (result == ARCHIVE_WARN && !is_harmless(reason_of(reader_.get())))
    member.damage = "cannot read " + path_ + "/" + member.name + ": " + reason_of(reader_.get());
  return member;
}

// Stands for all blocks up to the next header that is whole: the data of a member whose header is
// damaged look like damaged headers.
Member Members::damaged_header() {
  const std::string reason = reason_of(reader_.get());
  int result = ARCHIVE_RETRY;
  while (result == ARCHIVE_RETRY) result = read_header();
  pending_ = result;
  const std::string place =
      number_ == 0 ? "the first member"
                   : "the member after " + name_ + " (member " + std::to_string(number_) + ")";
  ++number_;
  name_ = "a damaged one";
  const std::string what = result == ARCHIVE_EOF
                               ? " is damaged; it and what may follow it are left out: "
                               : " is damaged and left out: ";
  Member member;
  member.damage = "archive " + path_ + ": " + place + what + reason;
  return member;
}

std::size_t Members::read(std::span<char> bytes) {
  const Utf8Characters characters(utf8_);
  const la_ssize_t got = ::archive_read_data(reader_.get(), bytes.data(), bytes.size());
  // A warning says that the checksum or the length is wrong.
  if (got < 0) fail("cannot read", path_ + "/" + name_);
  return static_cast<std::size_t>(got);
}

}  // namespace blip::cli

#endif
