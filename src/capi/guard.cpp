#include "capi/guard.h"

#include <memory>

struct blip_error : blip::capi::Handle<0x6572726f> {  // "erro"
  blip_status status = BLIP_OK;
  std::string message;
};

namespace blip::capi {

blip_status leave(blip_error** error, blip_status status, const char* message) noexcept {
  if (error == nullptr) return status;
  try {
    auto made = std::make_unique<blip_error>();
    made->status = status;
    made->message = message;
    *error = made.release();
  } catch (const std::bad_alloc&) {
    // Without memory for a message the status alone must do.
  }
  return status;
}

blip_status status_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kUsage:
      return BLIP_ERROR_USAGE;
    case ErrorCode::kIo:
      return BLIP_ERROR_IO;
    case ErrorCode::kImage:
      return BLIP_ERROR_IMAGE;
    case ErrorCode::kModel:
      return BLIP_ERROR_MODEL;
    case ErrorCode::kUnsupported:
      return BLIP_ERROR_UNSUPPORTED;
    case ErrorCode::kDevice:
      return BLIP_ERROR_DEVICE;
    case ErrorCode::kCancelled:
      return BLIP_ERROR_CANCELLED;
  }
  return BLIP_ERROR_INTERNAL;
}

const char* required(const char* text, const char* name) {
  if (text == nullptr) throw Error(ErrorCode::kUsage, std::string(name) + " is NULL");
  return text;
}

char* owned_text(const std::string& text) {
  char* copy = new char[text.size() + 1];
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

std::vector<std::string> strings(const char* const* texts, std::size_t count, const char* name) {
  if (texts == nullptr && count > 0) throw Error(ErrorCode::kUsage, std::string(name) + " is NULL");
  std::vector<std::string> copies;
  for (std::size_t i = 0; i < count; ++i) {
    std::string which = name;
    which.append("[").append(std::to_string(i)).append("]");
    copies.emplace_back(required(texts[i], which.c_str()));
  }
  return copies;
}

void check_struct_size(std::uint32_t size, const char* name) {
  if (size >= sizeof(size) && size % kStructGranule == 0 && size <= kStructLimit) return;
  throw Error(ErrorCode::kUsage,
              std::string(name) + ".struct_size is " + std::to_string(size) +
                  ", which no version of the struct has; fill it with blip_..._default first");
}

void check_unknown_fields(const unsigned char* fields, std::size_t known, std::size_t given,
                          const char* name) {
  if (std::all_of(fields + known, fields + given, [](unsigned char byte) { return byte == 0; }))
    return;
  throw Error(ErrorCode::kUsage,
              std::string(name) + " sets fields that this library (" + blip_version() +
                  ") does not know: use a newer library, or leave them at their defaults");
}

}  // namespace blip::capi

using namespace blip::capi;

extern "C" {

const char* blip_status_name(blip_status status) {
  switch (status) {
    case BLIP_OK:
      return "ok";
    case BLIP_ERROR_USAGE:
      return to_string(blip::ErrorCode::kUsage);
    case BLIP_ERROR_IO:
      return to_string(blip::ErrorCode::kIo);
    case BLIP_ERROR_IMAGE:
      return to_string(blip::ErrorCode::kImage);
    case BLIP_ERROR_MODEL:
      return to_string(blip::ErrorCode::kModel);
    case BLIP_ERROR_UNSUPPORTED:
      return to_string(blip::ErrorCode::kUnsupported);
    case BLIP_ERROR_DEVICE:
      return to_string(blip::ErrorCode::kDevice);
    case BLIP_ERROR_CANCELLED:
      return to_string(blip::ErrorCode::kCancelled);
    case BLIP_ERROR_MEMORY:
      return "memory";
    case BLIP_ERROR_INTERNAL:
      return "internal";
    default:
      return "unknown";
  }
}

blip_status blip_error_status(const blip_error* error) {
  return valid(error) ? error->status : BLIP_OK;
}
const char* blip_error_message(const blip_error* error) {
  return valid(error) ? error->message.c_str() : "";
}
void blip_error_free(blip_error* error) { release(error); }

}  // extern "C"
