#include "cli/shard_writer.h"

#include <cerrno>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/file.h"
#include "blip/error.h"
#include "cli/archive_open.h"

namespace blip::cli {

std::string shard_path(const ShardOptions& options, const std::string& archive) {
  namespace fs = std::filesystem;
  return (fs::path(options.folder) / fs::path(archive).filename()).string();
}

#ifdef BLIP_HAS_ARCHIVES

namespace {

constexpr std::size_t kShardBlock = std::size_t{256} << 10;

la_ssize_t write_to_file(archive* writer, void* file, const void* bytes, std::size_t size) {
  try {
    static_cast<AtomicFile*>(file)->write(std::span(static_cast<const std::byte*>(bytes), size));
    return static_cast<la_ssize_t>(size);
  } catch (const Error& error) {
    ::archive_set_error(writer, EIO, "%s", error.what());
    return -1;
  }
}

struct FreeEntry {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};

// A copy that is being written.
class Copy {
 public:
  Copy(const ShardOptions& options, const std::string& source, const Captions& captions)
      : options_(options),
        source_(source),
        captions_(captions),
        file_(shard_path(options, source)) {}

  std::size_t write() {
    find_captions();
    members_.emplace(source_);
    while (const std::optional<Member> member = members_->next()) {
      check(*member);
      if (!writer_) open_writer();
      copy(member->entry, member->name);
    }
    if (!writer_) open_writer();
    check(::archive_write_close(writer_.get()));
    file_.commit();
    return unwritten_;
  }

 private:
  // A copy of what is left would lack a member without a word.
  void check(const Member& member) const {
    if (!member.damage.empty())
      throw Error(ErrorCode::kIo, "cannot copy " + source_ + ": " + member.damage);
  }

  // The writer warns of names that are not UTF-8, which it writes as they are.
  void check(int result) const {
    if (result < ARCHIVE_WARN) archive_failed(writer_.get(), "cannot copy", source_);
  }

  // Which texts are there already, and which pictures have captions: a text may come before its
  // picture.
  void find_captions() {
    Members members(source_);
    std::unordered_set<std::string> seen;
    while (const std::optional<Member> member = members.next()) {
      check(*member);
      const std::string& name = member->name;
      if (!seen.insert(name).second) continue;
      if (name.ends_with(options_.ending)) {
        texts_.insert(name);
      } else if (captions_.contains(source_ + "/" + name)) {
        const bool first = pictures_.emplace(text_name(name), name).second;
        unwritten_ += first ? 0 : 1;
      }
    }
  }

  std::string text_name(const std::string& picture) const {
    return jobs::sidecar_path(picture, options_.ending);
  }

  // As tar and compressed as the source, whose first member has been read.
  void open_writer() {
    writer_.reset(::archive_write_new());
    if (!writer_) throw std::bad_alloc();
    archive* const writer = writer_.get();
    ::archive_write_set_format_pax_restricted(writer);
    for (const int code : members_->filters()) check(::archive_write_add_filter(writer, code));
    check(::archive_write_open(writer, &file_, nullptr, write_to_file, nullptr));
  }

  void copy(archive_entry* entry, const std::string& name) {
    const bool first = copied_.insert(name).second;
    const bool keeps = options_.existing == jobs::Existing::kSkip;
    if (const auto picture = pictures_.find(name); picture != pictures_.end() && first && !keeps)
      return add_to_text(entry, name, picture->second);
    copy_member(entry);
    const auto captioned = pictures_.find(text_name(name));
    if (!first || captioned == pictures_.end() || captioned->second != name) return;
    if (!texts_.contains(captioned->first))
      add_member(entry, captioned->first, jobs::sidecar_content("", text_of(name), {}));
  }

  std::string text_of(const std::string& picture) const {
    return jobs::sidecar_text(options_.ending, captions_.text(source_ + "/" + picture));
  }

  // The text that is there, with the caption as options_.existing says.
  void add_to_text(archive_entry* entry, const std::string& name, const std::string& picture) {
    std::string before;
    read_data([&](std::string_view bytes) {
      before += bytes;
      if (before.size() > jobs::kLargestSidecar)
        throw Error(ErrorCode::kIo, "cannot add to " + source_ + "/" + name +
                                        ": it is larger than " +
                                        std::to_string(jobs::kLargestSidecar) + " bytes");
    });
    add_member(entry, name, jobs::sidecar_content(before, text_of(picture), options_.existing));
  }

  template <class Take>
  void read_data(const Take& take) {
    std::string block(kShardBlock, '\0');
    while (const std::size_t got = members_->read(block))
      take(std::string_view(block).substr(0, got));
  }

  void copy_member(archive_entry* entry) {
    check(::archive_write_header(writer_.get(), entry));
    read_data([this](std::string_view bytes) { put(bytes); });
  }

  void put(std::string_view bytes) {
    const la_ssize_t written = ::archive_write_data(writer_.get(), bytes.data(), bytes.size());
    if (written < 0) archive_failed(writer_.get(), "cannot copy", source_);
    if (static_cast<std::size_t>(written) < bytes.size())
      throw Error(ErrorCode::kIo, "cannot copy " + source_ + ": a member is longer than it says");
  }

  void add_member(archive_entry* like, const std::string& name, const std::string& content) {
    const std::unique_ptr<archive_entry, FreeEntry> entry(::archive_entry_new());
    const std::string whole = ::archive_entry_pathname(like) ? ::archive_entry_pathname(like) : "";
    ::archive_entry_set_pathname(entry.get(),
                                 ((whole.starts_with("./") ? "./" : "") + name).c_str());
    ::archive_entry_set_filetype(entry.get(), AE_IFREG);
    ::archive_entry_set_perm(entry.get(), ::archive_entry_perm(like));
    ::archive_entry_set_mtime(entry.get(), ::archive_entry_mtime(like), 0);
    ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    check(::archive_write_header(writer_.get(), entry.get()));
    put(content);
  }

  const ShardOptions& options_;
  const std::string& source_;
  const Captions& captions_;
  AtomicFile file_;
  std::optional<Members> members_;
  Archive writer_;
  std::unordered_set<std::string> texts_, copied_;
  std::unordered_map<std::string, std::string> pictures_;  // with captions, by their texts' names
  std::size_t unwritten_ = 0;
};

}  // namespace

std::size_t write_shard(const ShardOptions& options, const std::string& archive,
                        const Captions& captions) {
  return Copy(options, archive, captions).write();
}

#else

std::size_t write_shard(const ShardOptions&, const std::string& archive, const Captions&) {
  throw Error(ErrorCode::kUnsupported,
              "cannot read archive " + archive + ": this build lacks libarchive (BLIP_ARCHIVES)");
}

#endif

}  // namespace blip::cli
