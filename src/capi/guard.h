// The border between C++ and C: no exception passes it, handles are checked, structs of other
// versions are read.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "blip/c.h"
#include "blip/error.h"

namespace blip::capi {

// Leaves a message in *error, if the caller wants one, and returns the status.
blip_status leave(blip_error** error, blip_status status, const char* message) noexcept;
blip_status status_of(ErrorCode code) noexcept;

// Runs the body of a function that can fail.
template <class Body>
blip_status guarded(blip_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    body();
    return BLIP_OK;
  } catch (const Error& e) {
    return leave(error, status_of(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return leave(error, BLIP_ERROR_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return leave(error, BLIP_ERROR_INTERNAL, e.what());
  } catch (...) {
    return leave(error, BLIP_ERROR_INTERNAL, "an exception of an unknown kind");
  }
}

// What every handle begins with: a number that tells the types apart, and is gone once a handle is
// freed.
template <std::uint32_t kTag>
struct Handle {
  static constexpr std::uint32_t kType = kTag;
  std::uint32_t type = kTag;
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { *static_cast<volatile std::uint32_t*>(&type) = 0; }
};

// Of handles that need an engine's threads, which a forked child lacks.
template <std::uint32_t kTag>
struct ProcessHandle : Handle<kTag> {
  pid_t process = getpid();
};

template <class T>
bool valid(const T* handle) noexcept {
  return handle != nullptr && handle->type == T::kType;
}

template <class T>
bool of_this_process(const T& handle) noexcept {
  if constexpr (requires { handle.process; }) {
    return handle.process == getpid();
  } else {
    return true;
  }
}

// `name` says which argument it is: "image", "images[3]".
template <class T>
T& checked(T* handle, const std::string& name) {
  if (handle == nullptr) throw Error(ErrorCode::kUsage, name + " is NULL");
  if (!valid(handle)) {
    throw Error(ErrorCode::kUsage, name + " is a handle of another type, or was freed already");
  }
  if (!of_this_process(*handle)) {
    throw Error(ErrorCode::kUsage,
                name + " was made before this process was forked, and an engine's threads do not " +
                    "survive that: load the model again in the new process");
  }
  return *handle;
}

// Destroying an engine of the parent process would wait for threads that the child does not have.
template <class T>
void release(T* handle) noexcept {
  if (valid(handle) && of_this_process(*handle)) delete handle;
}

// A place for a result; set to NULL until there is one.
template <class T>
void prepare_output(T** output) {
  if (output == nullptr) throw Error(ErrorCode::kUsage, "the place for the result is NULL");
  *output = nullptr;
}

const char* required(const char* text, const char* name);
// A copy that blip_string_free frees.
char* owned_text(const std::string& text);
std::vector<std::string> strings(const char* const* texts, std::size_t count, const char* name);

// ---- Structs of options ----

// Sizes that a header may give: fields come in whole pointers' worth, and no struct will ever grow
// over the limit.
inline constexpr std::uint32_t kStructGranule = sizeof(void*);
inline constexpr std::uint32_t kStructLimit = 4096;

template <class Options>
Options defaults();  // in options.cpp, one for each struct

template <class Options>
void fill_defaults(Options* options, std::uint32_t struct_size) noexcept {
  if (options == nullptr || struct_size < sizeof(struct_size) || struct_size > kStructLimit) return;
  Options known = defaults<Options>();
  known.struct_size = struct_size;
  std::memset(static_cast<void*>(options), 0, struct_size);
  std::memcpy(static_cast<void*>(options), &known,
              std::min<std::size_t>(struct_size, sizeof known));
}

void check_struct_size(std::uint32_t size, const char* name);
void check_unknown_fields(const unsigned char* fields, std::size_t known, std::size_t given,
                          const char* name);

// The caller's options, with defaults for what an older header does not have.
template <class Options>
Options read_options(const Options* given, const char* name) {
  static_assert(sizeof(Options) % kStructGranule == 0);
  Options options = defaults<Options>();
  if (given == nullptr) return options;
  const std::uint32_t size = given->struct_size;
  check_struct_size(size, name);
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  std::memcpy(static_cast<void*>(&options), bytes, std::min<std::size_t>(size, sizeof options));
  if (size > sizeof options) check_unknown_fields(bytes, sizeof options, size, name);
  if constexpr (requires { options.reserved; }) {
    if (options.reserved != 0)
      throw Error(ErrorCode::kUsage, std::string(name) + ".reserved must be 0");
  }
  return options;
}

}  // namespace blip::capi
