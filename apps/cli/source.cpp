#include "cli/source.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "blip/blip.h"
#include "blip/error.h"
#include "cli/archive_reader.h"
#include "cli/interrupt.h"
#include "cli/list_reader.h"
#include "cli/pair_reader.h"
#include "cli/parquet_reader.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

// A file that cannot be opened counts as one, so that its error is told.
bool holds_picture(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return true;
  std::array<std::byte, kImageHeadBytes> head{};
  const ssize_t got = ::read(fd, head.data(), head.size());
  ::close(fd);
  return got > 0 && looks_like_image(std::span(head).first(static_cast<std::size_t>(got)));
}

bool exists(const std::string& path) {
  struct stat status = {};
  return lstat(path.c_str(), &status) == 0;
}

bool is_pattern(const std::string& argument) {
  return argument.find_first_of("*?[") != std::string::npos && !exists(argument);
}

bool is_list(const std::string& argument) {
  return argument.size() > 1 && argument.front() == '@' && !exists(argument);
}

}  // namespace

// The names in a folder, sorted: a million of them in one piece of memory.
class FolderNames {
 public:
  // What the folder says of a name without a look at the file.
  struct Name {
    std::string_view text;
    bool is_file;  // for certain a regular file
  };

  // Why it cannot be listed; "" when it can.
  std::string list(const std::string& folder) {
    DIR* const dir = ::opendir(folder.c_str());
    if (dir == nullptr) return std::generic_category().message(errno);
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): this thread alone has the stream.
    while (const dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      begins_.push_back(text_.size());
      text_ += entry->d_type == DT_REG ? 'f' : ' ';
      text_ += name;
      text_ += '\0';
      errno = 0;
    }
    const int code = errno;
    ::closedir(dir);
    std::sort(begins_.begin(), begins_.end(),
              [this](std::size_t a, std::size_t b) { return at(a).text < at(b).text; });
    return code == 0 ? "" : std::generic_category().message(code);
  }

  std::optional<Name> next() {
    if (next_ == begins_.size()) return std::nullopt;
    return at(begins_[next_++]);
  }

 private:
  Name at(std::size_t begin) const {
    return {std::string_view(text_.c_str() + begin + 1), text_[begin] == 'f'};
  }

  std::string text_;  // of each: what it is, the name, NUL
  std::vector<std::size_t> begins_;
  std::size_t next_ = 0;
};

using FolderId = std::pair<dev_t, ino_t>;

Json Input::object() const {
  if (row) return *row;
  return row_text.empty() ? named("image", name) : Json{{"row", row_text}};
}

Json object_of_text(const Input& input, const char* key, const std::string& text) {
  Json object = input.object();
  if (input.texts_key != nullptr && object[input.texts_key].is_array())
    object.erase(input.texts_key);
  object[key] = text;
  return object;
}

bool InputFilter::excludes(const std::string& path) const {
  const char* const name = path.c_str() + (path.rfind('/') + 1);
  return std::any_of(exclude.begin(), exclude.end(), [&](const std::string& pattern) {
    const bool whole = pattern.find('/') != std::string::npos;
    return ::fnmatch(pattern.c_str(), whole ? path.c_str() : name, whole ? FNM_PATHNAME : 0) == 0;
  });
}

bool InputFilter::is_newer(const timespec& time) const {
  if (!newer_than) return true;
  const timespec& limit = *newer_than;
  return time.tv_sec != limit.tv_sec ? time.tv_sec > limit.tv_sec : time.tv_nsec > limit.tv_nsec;
}

// Where a Source is: the argument, the list or matches that it stands for, and the folders in it.
class Source::Walk {
 public:
  Walk(std::vector<std::string> arguments, SourceOptions options)
      : arguments_(std::move(arguments)), options_(std::move(options)) {}

  std::optional<Input> next(const Stop& stop, const Wanted& wanted) {
    for (;;) {
      stop_if_interrupted();
      if (archive_) {
        if (std::optional<Input> input = next_of_archive(wanted)) return input;
        continue;
      }
      if (pairs_) {
        if (std::optional<Input> input = next_of_pairs(stop)) return input;
        continue;
      }
      if (parquet_) {
        if (std::optional<Input> input = next_of_parquet(stop, wanted)) return input;
        continue;
      }
      if (!folders_.empty()) {
        if (std::optional<Input> input = next_of_folder(stop)) return input;
      } else if (next_match_ < matches_.size()) {
        if (std::optional<Input> input = enter_path(matches_[next_match_++], stop)) return input;
      } else if (list_) {
        if (std::optional<Input> input = next_of_list(stop)) return input;
      } else if (next_argument_ == arguments_.size()) {
        return std::nullopt;
      } else if (std::optional<Input> input = enter_argument(arguments_[next_argument_++], stop)) {
        return input;
      }
    }
  }

  const std::vector<std::string>& arguments() const { return arguments_; }
  const LeftOut& left_out() const { return left_out_; }

 private:
  struct Folder {
    std::string path;
    FolderNames names;
  };

  std::optional<Input> enter_argument(const std::string& argument, const Stop& stop) {
    if (argument == "-") {
      const bool again = std::exchange(standard_input_, true);
      if (!again && options_.pairs && options_.pairs->two) return enter_pairs(argument);
      return Input{"-", again ? "standard input was given twice; it can be read once" : ""};
    }
    if (is_pattern(argument)) return enter_pattern(argument);
    if (!is_list(argument)) return enter_path(argument, stop);
    const std::string path = argument.substr(1);
    if (path == "-" && std::exchange(standard_input_, true))
      return Input{argument, "standard input was given twice; it can be read once"};
    try {
      list_ = std::make_unique<ListReader>(path, options_.nul_lists ? '\0' : '\n');
    } catch (const Error& error) {
      return Input{argument, error.what()};
    }
    return std::nullopt;
  }

  std::optional<Input> enter_pattern(const std::string& pattern) {
    glob_t matches = {};
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
    const int result = ::glob(pattern.c_str(), 0, nullptr, &matches);
    matches_.clear();
    next_match_ = 0;
    for (std::size_t i = 0; result == 0 && i < matches.gl_pathc; ++i)
      matches_.emplace_back(matches.gl_pathv[i]);
    ::globfree(&matches);
    if (result != 0) return Input{pattern, "no file matches " + pattern};
    return std::nullopt;
  }

  std::optional<Input> next_of_list(const Stop& stop) {
    try {
      const std::optional<std::string> name = list_->next(stop);
      if (!name) list_.reset();
      if (!name) return std::nullopt;
      // A list of a million pictures is gone through without a look at each of them.
      if (has_image_ending(*name) && !options_.filter.newer_than) {
        if (!options_.filter.excludes(*name)) return Input{*name, ""};
        ++left_out_.excluded;
        return std::nullopt;
      }
      return enter_path(*name == "-" ? "./-" : *name, stop);
    } catch (const Error& error) {
      list_.reset();
      return Input{arguments_[next_argument_ - 1], error.what()};
    }
  }

  std::optional<Input> enter_path(const std::string& path, const Stop& stop) {
    struct stat status = {};
    // One that is missing fails when it is opened, with the system's reason.
    const bool there = ::stat(path.c_str(), &status) == 0;
    if (!there || !S_ISDIR(status.st_mode)) {
      const bool archive = there && S_ISREG(status.st_mode) && is_archive(path);
      if (options_.filter.excludes(path)) {
        ++left_out_.excluded;
      } else if (archive) {
        return enter_archive(path);
      } else if (options_.pairs && is_pair_file(path)) {
        return enter_pairs(path);
      } else if (there && !options_.filter.is_newer(status.st_mtim)) {
        ++left_out_.older;
      } else if (there && S_ISREG(status.st_mode) && is_parquet(path)) {
        return enter_parquet(path, stop);
      } else {
        return Input{path, ""};
      }
      return std::nullopt;
    }
    root_ = path;
    searched_.clear();
    found_ = false;
    filtered_before_ = filtered();
    return enter_folder(path, status);
  }

  std::optional<Input> enter_archive(const std::string& path) {
    found_ = false;
    filtered_before_ = filtered();
    archive_path_ = path;
    try {
      archive_ = std::make_unique<ArchiveReader>(path, options_);
    } catch (const Error& error) {
      return Input{path, error.what()};
    }
    return std::nullopt;
  }

  std::optional<Input> next_of_archive(const Wanted& wanted) {
    try {
      std::optional<Input> input = archive_->next(wanted, left_out_);
      if (input || found_ || filtered() != filtered_before_) {
        found_ = true;
        if (!input) archive_.reset();
        return input;
      }
    } catch (const Error& error) {
      archive_.reset();
      return Input{archive_path_, error.what()};
    }
    archive_.reset();
    return Input{archive_path_, "no picture in archive " + archive_path_};
  }

  std::optional<Input> enter_pairs(const std::string& path) {
    pairs_path_ = path;
    try {
      pairs_ = std::make_unique<PairReader>(path, *options_.pairs);
    } catch (const Error& error) {
      return Input{path, error.what()};
    }
    return std::nullopt;
  }

  std::optional<Input> next_of_pairs(const Stop& stop) {
    try {
      while (std::optional<Input> input = pairs_->next(stop)) {
        if (!input->error.empty() || !options_.filter.excludes(input->name)) return input;
        ++left_out_.excluded;
      }
      pairs_.reset();
      return std::nullopt;
    } catch (const Error& error) {
      pairs_.reset();
      return Input{pairs_path_, error.what()};
    }
  }

  std::optional<Input> enter_parquet(const std::string& path, const Stop& stop) {
    parquet_path_ = path;
    rows_found_ = false;
    excluded_before_ = left_out_.excluded;
    try {
      auto reader = std::make_unique<ParquetReader>(path, options_, stop);
      if (reader->has_pictures()) {
        parquet_ = std::move(reader);
        return std::nullopt;
      }
      // A folder may have others, such as the captions that were written there.
      if (folders_.empty() || reader->is_ambiguous()) return Input{path, reader->why_not()};
      ++left_out_.others;
      return std::nullopt;
    } catch (const Error& error) {
      return Input{path, error.what()};
    }
  }

  std::optional<Input> next_of_parquet(const Stop& stop, const Wanted& wanted) {
    std::string error = "no row in " + parquet_path_;
    try {
      if (std::optional<Input> input = parquet_->next(stop, wanted, left_out_)) {
        rows_found_ = found_ = true;
        return input;
      }
      if (rows_found_ || left_out_.excluded != excluded_before_) error.clear();
    } catch (const Error& problem) {
      error = problem.what();
    }
    parquet_.reset();
    if (error.empty()) return std::nullopt;
    found_ = true;
    return Input{parquet_path_, error};
  }

  std::optional<Input> enter_folder(const std::string& path, const struct stat& status) {
    if (!searched_.insert(FolderId(status.st_dev, status.st_ino)).second) {
      ++left_out_.again;
      return std::nullopt;
    }
    Folder folder{path, {}};
    const std::string error = folder.names.list(path);
    folders_.push_back(std::move(folder));
    if (error.empty()) return std::nullopt;
    found_ = true;
    folders_.pop_back();
    return Input{path, "cannot list folder " + path + ": " + error};
  }

  std::optional<Input> next_of_folder(const Stop& stop) {
    Folder& folder = folders_.back();
    if (const std::optional<FolderNames::Name> name = folder.names.next()) {
      const bool slash = folder.path.ends_with('/');
      std::optional<Input> input = enter_entry(
          folder.path + (slash ? "" : "/") + std::string(name->text), name->is_file, stop);
      found_ = found_ || input.has_value();
      return input;
    }
    folders_.pop_back();
    if (folders_.empty() && !found_ && filtered() == filtered_before_)
      return Input{root_, "no picture in folder " + root_};
    return std::nullopt;
  }

  bool is_excluded(const std::string& path) const {
    return !options_.filter.exclude.empty() &&
           options_.filter.excludes(fs::path(path).lexically_relative(root_).string());
  }

  std::size_t filtered() const { return left_out_.excluded + left_out_.older + left_out_.below; }

  std::optional<Input> enter_entry(const std::string& path, bool is_file, const Stop& stop) {
    const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
    if (name.starts_with(kOwnFiles) || AtomicFile::is_temporary(name)) return std::nullopt;
    if (name.starts_with('.')) {
      ++left_out_.hidden;
    } else if (is_excluded(path)) {
      ++left_out_.excluded;
    } else if (is_file && !options_.filter.newer_than && has_image_ending(path)) {
      return Input{path,
                   ""};  // without a look at the file, which a million of them would take long
    } else {
      return enter_other(path, stop);
    }
    return std::nullopt;
  }

  std::optional<Input> enter_other(const std::string& path, const Stop& stop) {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0)
      return Input{path, ""};  // fails with the system's reason
    if (S_ISDIR(status.st_mode)) {
      if (options_.filter.subfolders) return enter_folder(path, status);
      ++left_out_.below;
    } else if (!S_ISREG(status.st_mode)) {
      ++left_out_.special;
    } else if (options_.parquet_in_folders && is_parquet(path)) {
      if (options_.filter.is_newer(status.st_mtim)) return enter_parquet(path, stop);
      ++left_out_.older;
    } else if (!has_image_ending(path) && !holds_picture(path)) {
      ++left_out_.others;
    } else if (options_.filter.is_newer(status.st_mtim)) {
      return Input{path, ""};
    } else {
      ++left_out_.older;
    }
    return std::nullopt;
  }

  const std::vector<std::string> arguments_;
  const SourceOptions options_;
  std::size_t next_argument_ = 0, next_match_ = 0;
  bool standard_input_ = false;  // was read from
  std::unique_ptr<ListReader> list_;
  std::unique_ptr<ArchiveReader> archive_;
  std::unique_ptr<PairReader> pairs_;
  std::unique_ptr<ParquetReader> parquet_;
  std::string archive_path_, pairs_path_, parquet_path_;
  std::vector<std::string> matches_;
  std::vector<Folder> folders_;  // each in the one before
  std::string root_;             // the first of them
  std::set<FolderId> searched_;  // below it
  bool found_ = false;           // anything below it
  std::size_t filtered_before_ = 0;
  bool rows_found_ = false;  // in the Parquet file
  std::size_t excluded_before_ = 0;
  LeftOut left_out_;
};

Source::Source(std::vector<std::string> arguments, SourceOptions options)
    : walk_(std::make_unique<Walk>(std::move(arguments), std::move(options))) {}

Source::~Source() = default;

std::optional<Input> Source::next(const Stop& stop, const Wanted& wanted) {
  return walk_->next(stop, wanted);
}

const LeftOut& Source::left_out() const { return walk_->left_out(); }

bool Source::can_be_repeated() const {
  return std::all_of(
      walk_->arguments().begin(), walk_->arguments().end(), [](const std::string& argument) {
        if (is_compressed_archive(argument)) return false;
        if (!is_list(argument) && !is_pair_file(argument)) return true;
        struct stat status = {};
        const char* const path = argument.c_str() + (is_list(argument) ? 1 : 0);
        return argument != "@-" && (::stat(path, &status) != 0 || S_ISREG(status.st_mode));
      });
}

std::string describe(const LeftOut& left_out) {
  std::string text;
  const auto add = [&](std::size_t count, const char* one, const char* many) {
    if (count > 0)
      text += (text.empty() ? "" : ", ") + std::to_string(count) + ' ' + (count == 1 ? one : many);
  };
  add(left_out.others, "file that is no picture", "files that are no pictures");
  add(left_out.hidden, "hidden file or folder", "hidden files or folders");
  add(left_out.special, "pipe, socket or device", "pipes, sockets or devices");
  add(left_out.links, "link in an archive", "links in archives");
  add(left_out.excluded, "excluded file or folder", "excluded files or folders");
  add(left_out.older, "picture that is not newer", "pictures that are not newer");
  add(left_out.again, "link to a folder searched already", "links to folders searched already");
  add(left_out.below, "folder below", "folders below");
  return text;
}

bool names_needed(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return true;
  struct stat status = {};
  return arguments.front() != "-" &&
         (is_archive(arguments.front()) || is_parquet(arguments.front()) ||
          is_pair_file(arguments.front()) || stat(arguments.front().c_str(), &status) != 0 ||
          S_ISDIR(status.st_mode));
}

}  // namespace blip::cli
