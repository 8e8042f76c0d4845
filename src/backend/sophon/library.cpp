// Finding the vendor's libraries.
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "backend/sophon/runtime.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

constexpr const char* kVendorFolder = "/opt/sophon/libsophon-current/lib";
constexpr const char* kHowToGet =
    "install the vendor's libsophon (on a SOPHON box it is there already), or run "
    "tools/sophon/install-emulator for an emulated chip, and set "
    "BLIP_BMRT_DIR to the folder that holds libbmlib.so and libbmrt.so";

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kDevice, what + "; " + kHowToGet);
}

// The first of the names that loads. In a folder only files that exist are tried, so that the
// message is about the one there.
void* open_first(const std::string& folder, const std::array<const char*, 2>& names) {
  std::string reason;
  for (const char* name : names) {
    const std::string path = folder.empty() ? name : folder + "/" + name;
    std::error_code error;
    if (!folder.empty() && !std::filesystem::exists(path, error)) continue;
    // Local: the emulators' hundreds of exported names stay out of this program's way.
    if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* said = dlerror();  // NOLINT(concurrency-mt-unsafe): per thread in glibc
    reason = said ? said : "unknown reason";
  }
  const std::string where = folder.empty()
                                ? "on the loader's path (nor in " + std::string(kVendorFolder) + ")"
                                : "in " + folder;
  const std::string name = names[0];
  fail("SOPHON runtime: " +
       (reason.empty() ? "no " + name + " " + where : "cannot load " + name + ": " + reason));
}

template <class Function>
void find(void* library, const char* symbol, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, symbol));
}

template <class Function>
void resolve(void* library, const char* library_name, const char* symbol, Function*& function) {
  find(library, symbol, function);
  if (!function)
    fail("SOPHON runtime: " + std::string(library_name) + " lacks the function " + symbol +
         ": it is too old or damaged");
}

std::string find_folder() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  if (const char* folder = std::getenv(kFolderVariable); folder && *folder) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error))
      fail(std::string(kFolderVariable) + "=" + folder + " is not a folder");
    return folder;
  }
  std::error_code error;
  return std::filesystem::exists(std::string(kVendorFolder) + "/libbmrt.so", error) ? kVendorFolder
                                                                                    : "";
}

}  // namespace

Library Library::load() {
  Library library;
  library.folder = find_folder();
  // libbmlib first: libbmrt asks for it by its name and gets this one.
  void* bmlib = open_first(library.folder, {"libbmlib.so", "libbmlib.so.0"});
  void* bmrt = open_first(library.folder, {"libbmrt.so", "libbmrt.so.1.0"});
#define BLIP_RESOLVE(member, symbol, result, parameters) \
  resolve(bmlib, "libbmlib", #symbol, library.bmlib.member);
  BLIP_BMLIB_FUNCTIONS(BLIP_RESOLVE)
#undef BLIP_RESOLVE
#define BLIP_RESOLVE(member, symbol, result, parameters) \
  resolve(bmrt, "libbmrt", #symbol, library.bmrt.member);
  BLIP_BMRT_FUNCTIONS(BLIP_RESOLVE)
#undef BLIP_RESOLVE
#define BLIP_FIND(member, symbol, result, parameters) find(bmlib, #symbol, library.bmlib.member);
  BLIP_BMLIB_OPTIONAL_FUNCTIONS(BLIP_FIND)
#undef BLIP_FIND
#define BLIP_FIND(member, symbol, result, parameters) find(bmrt, #symbol, library.bmrt.member);
  BLIP_BMRT_OPTIONAL_FUNCTIONS(BLIP_FIND)
#undef BLIP_FIND
  return library;
}

std::string short_version(const std::string& text) {
  const auto word_after = [&](const std::string& label) {
    const std::size_t at = text.find(label);
    if (at == std::string::npos) return std::string();
    const std::size_t begin = at + label.size();
    return text.substr(begin, text.find_first_of(" ,", begin) - begin);
  };
  const std::string number = word_after("version:"), commit = word_after("commit:");
  if (number.empty()) return text;
  return commit.empty() ? number : number + " (" + commit + ")";
}

bool Library::emulated() const {
  std::error_code error;
  return !folder.empty() && std::filesystem::exists(folder + "/libcmodel.so", error);
}

std::string Library::version() const {
  const char* text = bmrt.version ? bmrt.version() : nullptr;
  return text ? short_version(text) : "";
}

const Library& Library::get() {
  // Tried again at the next call if it throws. Never destroyed: a thread that a chip keeps may be
  // in it when the program ends.
  static const Library& library = *new Library(load());
  return library;
}

}  // namespace blip::backend::sophon
