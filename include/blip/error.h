// Errors of libblip: one exception type with a stable code.
#pragma once

#include <stdexcept>
#include <string>

#pragma GCC visibility push(default)
namespace blip {

// What went wrong, stable across versions; the message says what, where and what to do.
enum class ErrorCode {
  kUsage,        // an option or argument that makes no sense (threads 0, an empty text, an unknown
                 // dtype)
  kIo,           // a file that cannot be opened, read or written
  kImage,        // bytes that are no picture we can decode, or over a limit
  kModel,        // a checkpoint that is damaged, incomplete or of an unknown kind
  kUnsupported,  // the loaded model or device lacks the asked capability
  kDevice,       // a device or its runtime is missing or failed
  kCancelled,    // a cancel callback returned true
};

// The code as a lower-case word ("usage", "io", ...).
const char* to_string(ErrorCode code);

// Thrown by every function of the library that can fail. Never carries a third-party exception
// out.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace blip
#pragma GCC visibility pop
