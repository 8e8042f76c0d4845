// Names from a list, one after the other, in constant memory.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blip/error.h"
#include "cli/stream.h"

namespace blip::cli {

// A name that is longer than a ListReader reads.
class TooLong : public Error {
 public:
  using Error::Error;
};

class ListReader {
 public:
  // path: "-" is standard input. end: the byte behind each name, '\n' (a carriage return before it
  // and a byte order mark are dropped) or '\0'. longest: of a name. Throws Error(kIo).
  ListReader(std::string path, char end, std::size_t longest = std::size_t{64} << 10);

  // The next name that is not empty; nullopt after the last. Throws Error(kIo) where the list
  // cannot be read, TooLong, Exit when interrupted or stopped.
  std::optional<std::string> next(const std::function<bool()>& stop);
  // After TooLong: passes over that name.
  void skip(const std::function<bool()>& stop);
  // Of the name that next() gave or skip() passed over: 1 is the first.
  std::size_t line() const { return line_; }

 private:
  bool fill(const std::function<bool()>& stop);

  std::string path_;
  char end_;
  std::size_t longest_, line_ = 0;
  std::unique_ptr<Stream> stream_;
  bool ended_ = false, begun_ = false;
  std::string buffer_;
  std::size_t at_ = 0;
};

}  // namespace blip::cli
