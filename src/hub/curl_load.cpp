// The functions of libcurl that downloads use, from the system's library, found when the first is
// called: for programs that must start where there is none (BLIP_CURL=load). Its interface has
// been the same since 2006.
#include <curl/curl.h>
#include <dlfcn.h>

#include <cstdarg>
#include <initializer_list>

namespace {

void* open_library() {
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"})
    if (void* handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return handle;
  return nullptr;
}

void* library() {
  static void* const handle = open_library();
  return handle;
}

// The library's function; null where there is no library, or an older one that lacks it.
template <class Function>
Function* find(const char* name) {
  return library() == nullptr ? nullptr : reinterpret_cast<Function*>(::dlsym(library(), name));
}

}  // namespace

// The macros check the types of arguments where the library is linked; here they would rename what
// is defined.
#undef curl_easy_setopt
#undef curl_easy_getinfo

// Their enumerations are as wide as an int: nothing is promoted.
#ifdef __clang__
#pragma clang diagnostic ignored "-Wvarargs"
#endif

extern "C" {

CURLcode curl_global_init(long flags) {
  static const auto function = find<decltype(curl_global_init)>(__func__);
  return function != nullptr ? function(flags) : CURLE_FAILED_INIT;
}

CURL* curl_easy_init() {
  static const auto function = find<decltype(curl_easy_init)>(__func__);
  return function != nullptr ? function() : nullptr;
}

// An option's value is a long, a pointer or a curl_off_t: each takes one register.
static_assert(sizeof(long) == sizeof(void*) && sizeof(curl_off_t) == sizeof(void*));

CURLcode curl_easy_setopt(CURL* curl, CURLoption option, ...) {
  static const auto function = find<decltype(curl_easy_setopt)>(__func__);
  va_list arguments;
  va_start(arguments, option);
  void* const value = va_arg(arguments, void*);
  va_end(arguments);
  return function != nullptr ? function(curl, option, value) : CURLE_FAILED_INIT;
}

CURLcode curl_easy_getinfo(CURL* curl, CURLINFO info, ...) {
  static const auto function = find<decltype(curl_easy_getinfo)>(__func__);
  va_list arguments;
  va_start(arguments, info);
  void* const place = va_arg(arguments, void*);
  va_end(arguments);
  return function != nullptr ? function(curl, info, place) : CURLE_FAILED_INIT;
}

CURLcode curl_easy_perform(CURL* curl) {
  static const auto function = find<decltype(curl_easy_perform)>(__func__);
  return function != nullptr ? function(curl) : CURLE_FAILED_INIT;
}

void curl_easy_reset(CURL* curl) {
  static const auto function = find<decltype(curl_easy_reset)>(__func__);
  if (function != nullptr) function(curl);
}

void curl_easy_cleanup(CURL* curl) {
  static const auto function = find<decltype(curl_easy_cleanup)>(__func__);
  if (function != nullptr) function(curl);
}

const char* curl_easy_strerror(CURLcode code) {
  static const auto function = find<decltype(curl_easy_strerror)>(__func__);
  return function != nullptr ? function(code)
                             : "libcurl.so.4 is not on this system (Debian and Ubuntu: package "
                               "libcurl4)";
}

curl_slist* curl_slist_append(curl_slist* list, const char* text) {
  static const auto function = find<decltype(curl_slist_append)>(__func__);
  return function != nullptr ? function(list, text) : nullptr;
}

void curl_slist_free_all(curl_slist* list) {
  static const auto function = find<decltype(curl_slist_free_all)>(__func__);
  if (function != nullptr) function(list);
}

}  // extern "C"
