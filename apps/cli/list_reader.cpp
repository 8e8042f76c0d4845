#include "cli/list_reader.h"

#include <utility>

#include "blip/error.h"

namespace blip::cli {
namespace {

constexpr std::size_t kBlock = std::size_t{64} << 10;

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::kIo,
              "cannot read the list " + (path == "-" ? "on standard input" : path) + ": " + why);
}

// With the list in what the system says of it.
template <class Work>
auto naming(const std::string& path, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    fail(path, error.what());
  }
}

}  // namespace

ListReader::ListReader(std::string path, char end, std::size_t longest)
    : path_(std::move(path)),
      end_(end),
      longest_(longest),
      stream_(naming(path_, [this] { return std::make_unique<Stream>(path_); })) {}

bool ListReader::fill(const std::function<bool()>& stop) {
  buffer_.erase(0, at_);
  at_ = 0;
  return naming(path_, [&] { return stream_->read(buffer_, kBlock, stop); });
}

std::optional<std::string> ListReader::next(const std::function<bool()>& stop) {
  for (;;) {
    std::size_t end = buffer_.find(end_, at_);
    while (end == std::string::npos && !ended_) {
      if (buffer_.size() - at_ > longest_)
        throw TooLong(ErrorCode::kIo, "cannot read " + (path_ == "-" ? "standard input" : path_) +
                                          " on: a name is longer than " +
                                          std::to_string(longest_ >> 10) + " KiB; names end with " +
                                          (end_ == '\0' ? "NUL" : "a line end (-0: with NUL)"));
      ended_ = !fill(stop);
      if (!std::exchange(begun_, true)) {
        if (buffer_.starts_with("\xff\xfe") || buffer_.starts_with("\xfe\xff"))
          fail(path_, "it is UTF-16; save it as UTF-8");
        if (buffer_.starts_with("\xef\xbb\xbf")) at_ = 3;
      }
      end = buffer_.find(end_, at_);
    }
    if (end == std::string::npos && at_ >= buffer_.size()) return std::nullopt;
    std::string name = buffer_.substr(at_, end == std::string::npos ? end : end - at_);
    at_ = end == std::string::npos ? buffer_.size() : end + 1;
    ++line_;
    if (end_ == '\n' && name.ends_with('\r')) name.pop_back();
    if (end_ == '\n' && name.find('\0') != std::string::npos)
      fail(path_, "a name holds a NUL; lists whose names end with NUL are read with -0");
    if (!name.empty()) return name;
  }
}

void ListReader::skip(const std::function<bool()>& stop) {
  std::size_t end = buffer_.find(end_, at_);
  while (end == std::string::npos && !ended_) {
    at_ = buffer_.size();
    ended_ = !fill(stop);
    end = buffer_.find(end_, at_);
  }
  at_ = end == std::string::npos ? buffer_.size() : end + 1;
  ++line_;
}

}  // namespace blip::cli
