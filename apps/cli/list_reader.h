// Names from a list, one after the other, in constant memory.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/stream.h"

namespace blip::cli {

class ListReader {
 public:
  // path: "-" is standard input. end: the byte behind each name, '\n' (a carriage return before it
  // and a byte order mark are dropped) or '\0'. Throws Error(kIo).
  ListReader(std::string path, char end);

  // The next name that is not empty; nullopt after the last. Throws Error(kIo) where the list
  // cannot be read or a name is longer than 64 KiB, Exit when interrupted or stopped.
  std::optional<std::string> next(const std::function<bool()>& stop);

 private:
  bool fill(const std::function<bool()>& stop);

  std::string path_;
  char end_;
  std::unique_ptr<Stream> stream_;
  bool ended_ = false, begun_ = false;
  std::string buffer_;
  std::size_t at_ = 0;
};

}  // namespace blip::cli
