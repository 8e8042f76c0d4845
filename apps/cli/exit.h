// How the program ends.
#pragma once

#include <stdexcept>
#include <string>

namespace blip::cli {

enum ExitCode {
  kExitOk = 0,
  // some inputs failed, the others were done; or the output could not be written
  kExitSomeFailed = 1,
  kExitUsage = 2,     // the command line makes no sense
  kExitModel = 3,     // the model or the device is missing, damaged or lacks the task
  kExitSignal = 128,  // plus the signal's number, as shells report it
};

// Ends the program with a code and, unless it is empty, a message on standard error.
class Exit : public std::runtime_error {
 public:
  Exit(int code, const std::string& message) : std::runtime_error(message), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

}  // namespace blip::cli
