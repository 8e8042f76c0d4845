#include "jobs/derived_file.h"

#include <fstream>
#include <utility>
#include <vector>

#include "blip/error.h"

namespace blip::jobs {
namespace {

std::uint64_t digest_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kIo, "cannot open " + path);
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  std::vector<char> block(kBlock);
  Digest digest;
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())) || file.gcount() > 0)
    digest.add({block.data(), static_cast<std::size_t>(file.gcount())});
  if (file.bad()) throw Error(ErrorCode::kIo, "cannot read " + path);
  return digest.value();
}

// A key for each content, so that all that were announced are known, not the last alone: a process
// may end before it renames the file.
Key key_of_content(const std::string& role, std::uint64_t content) { return key_of(role, content); }

}  // namespace

void DerivedFile::check(Journal& journal, const std::string& role, const std::string& path) {
  if (!is_there(path)) return;
  const std::uint64_t content = digest_of_file(path);
  journal.refresh();  // another worker may have written it just now
  if (!journal.was_intended(key_of_content(role, content), content))
    throw Error(
        ErrorCode::kUsage,
        path + " exists, and is not as this job wrote it; move it away, " + "or give another name");
}

DerivedFile::DerivedFile(Journal& journal, std::string role, const std::string& path)
    : journal_(&journal), role_(std::move(role)) {
  check(journal, role_, path);
  file_ = std::make_unique<AtomicFile>(path);
}

void DerivedFile::write(std::string_view text) {
  digest_.add(text);
  file_->write(text);
}

void DerivedFile::commit() {
  const std::uint64_t content = digest_.value();
  const Key key = key_of_content(role_, content);
  if (!journal_->was_intended(key, content)) journal_->intend({{key, content}});
  file_->commit();
}

}  // namespace blip::jobs
