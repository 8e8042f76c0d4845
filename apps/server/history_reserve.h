// A file that only takes up space, for the day when the disk is full: to delete something, SQLite
// has to write first.
#pragma once

#include <string>

namespace blip::server {

class HistoryReserve {
 public:
  // "" = none.
  explicit HistoryReserve(std::string path) : path_(std::move(path)) {}

  // Takes the space where it can be had; the file stays when the program ends.
  void take() const;
  // Gives it to others. false: there was none.
  bool release() const;

 private:
  const std::string path_;
};

}  // namespace blip::server
