#include "hub/http_client.h"

#define CURL_DISABLE_DEPRECATION  // CURLOPT_PROTOCOLS, for older libraries
#include <curl/curl.h>

#include "base/ascii.h"
#include "blip/error.h"
#include "hub/cache.h"

namespace blip::hub {

std::string without_password(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const std::size_t end = std::min(url.find_first_of("/?#", scheme + 3), url.size());
  const std::size_t at = url.rfind('@', end);
  return at == std::string::npos || at < scheme + 3
             ? url
             : url.substr(0, scheme + 3) + url.substr(at + 1);
}

namespace {

constexpr int kMaxRedirects = 10;
constexpr std::size_t kMaxErrorBody = 64 * 1024;
constexpr long kConnectSeconds = 15;
// A transfer that brings less than a byte a second for so long is broken.
constexpr long kStalledSeconds = 30;

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// "https://host:port" of an address, without a user's name and password.
std::string origin_of(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return "";
  const std::string clean = without_password(url);
  return lower(clean.substr(0, clean.find_first_of("/?#", scheme + 3)));
}

long seconds_of(const char* variable, long otherwise) {
  const std::string text = environment(variable);
  if (text.empty() || text.size() > 6 || text.find_first_not_of("0123456789") != std::string::npos)
    return otherwise;
  return std::max(1L, std::stol(text));
}

struct HeaderList {
  curl_slist* first = nullptr;
  ~HeaderList() { curl_slist_free_all(first); }
  void add(const std::string& line) {
    if (curl_slist* longer = curl_slist_append(first, line.c_str()))
      first = longer;
    else
      throw std::bad_alloc();
  }
};

}  // namespace

const std::string& Reply::header(const std::string& name) const {
  static const std::string none;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

struct HttpClient::Handle {
  CURL* curl = nullptr;
  Handle() {
    static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (started != CURLE_OK)
      throw Error(ErrorCode::kIo,
                  std::string("cannot start a download: ") + curl_easy_strerror(started));
    curl = curl_easy_init();
    if (curl == nullptr) throw Error(ErrorCode::kIo, "cannot start a download: too little memory");
  }
  ~Handle() { curl_easy_cleanup(curl); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};

// One request while libcurl performs it.
struct HttpClient::Transfer {
  const HttpClient* client = nullptr;
  CURL* curl = nullptr;
  std::size_t max_body = kMaxErrorBody;
  std::uint64_t offset = 0;
  const std::function<bool(const Reply&)>* start = nullptr;  // null: the body is kept in the reply
  const std::function<bool(std::string_view)>* sink = nullptr;

  Reply reply;
  bool started = false, wanted = false, too_large = false, ended_by_sink = false;
  std::exception_ptr failure;  // of a callback; nothing may be thrown through libcurl

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    const std::string_view line(data, size * count);
    // after a 100 Continue or a proxy's answer
    if (line.starts_with("HTTP/")) t.reply.headers.clear();
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      std::string_view value = line.substr(colon + 1);
      while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
        value.remove_prefix(1);
      while (!value.empty() && static_cast<unsigned char>(value.back()) <= ' ')
        value.remove_suffix(1);
      t.reply.headers[lower(std::string(line.substr(0, colon)))] = value;
    }
    return size * count;
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    const std::string_view piece(data, size * count);
    try {
      return t.take(piece) ? piece.size() : 0;
    } catch (...) {
      t.failure = std::current_exception();
      return 0;
    }
  }

  bool take(std::string_view piece) {
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
    if (!started) {
      started = true;
      wanted = start != nullptr && !is_redirect(reply.status) && (*start)(reply);
    }
    if (wanted) {
      ended_by_sink = !(*sink)(piece);
      return !ended_by_sink;
    }
    if (reply.body.size() + piece.size() > max_body) {
      too_large = true;
      return start != nullptr;  // of an error's text the beginning does
    }
    reply.body += piece;
    return true;
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto& t = *static_cast<Transfer*>(self);
    return t.client->cancel_ && t.client->cancel_() ? 1 : 0;
  }
};

HttpClient::HttpClient(std::string endpoint, std::string token, CancelCallback cancel)
    : endpoint_(std::move(endpoint)),
      token_(std::move(token)),
      cancel_(std::move(cancel)),
      handle_(std::make_unique<Handle>()) {}

HttpClient::~HttpClient() = default;

void HttpClient::perform(Transfer& t, const std::string& url, bool is_head) {
  CURL* curl = handle_->curl;
  curl_easy_reset(curl);  // keeps connections
  HeaderList headers;
  headers.add("User-Agent: blip.cpp/" BLIP_VERSION);
  headers.add("Accept-Encoding: identity");  // sizes and ranges are those of the file
  if (!token_.empty() && origin_of(url) == origin_of(endpoint_))
    headers.add("Authorization: Bearer " + token_);
  if (t.offset > 0) headers.add("Range: bytes=" + std::to_string(t.offset) + "-");
  char error[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  if (curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK)  // before 7.85
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOBODY, is_head ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.first);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &t);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &t);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
                   seconds_of("HF_HUB_DOWNLOAD_TIMEOUT", kStalledSeconds));
  t.client = this;
  t.curl = curl;
  t.reply = {};
  t.started = t.wanted = t.too_large = t.ended_by_sink = false;
  const CURLcode code = curl_easy_perform(curl);
  if (t.failure) std::rethrow_exception(t.failure);
  if (code == CURLE_ABORTED_BY_CALLBACK)
    throw Error(ErrorCode::kCancelled, "the download was cancelled");
  if (t.too_large && t.start == nullptr)
    throw ConnectionError(url + ": the answer is larger than " + std::to_string(t.max_body) +
                          " bytes");
  if (code != CURLE_OK && !t.ended_by_sink)
    throw ConnectionError(origin_of(url) + ": " +
                          (error[0] != '\0' ? error : curl_easy_strerror(code)));
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &t.reply.status);
  curl_off_t retry_after = 0;
  curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after);
  t.reply.retry_after = static_cast<double>(retry_after);
  t.reply.url = url;
  // An empty body is an answer all the same.
  if (!t.started && t.start != nullptr && !is_redirect(t.reply.status)) (*t.start)(t.reply);
}

Reply HttpClient::follow(Transfer& t, std::string url, bool is_head) {
  std::map<std::string, std::string> first;
  for (int redirects = 0; redirects <= kMaxRedirects; ++redirects) {
    perform(t, url, is_head);
    first.insert(t.reply.headers.begin(), t.reply.headers.end());
    t.reply.first_headers = first;
    char* next = nullptr;
    curl_easy_getinfo(handle_->curl, CURLINFO_REDIRECT_URL, &next);
    if (!is_redirect(t.reply.status) || next == nullptr) return std::move(t.reply);
    const std::string target = next;
    if (is_head && origin_of(target) != origin_of(url)) return std::move(t.reply);
    if (url.starts_with("https:") && !target.starts_with("https:"))
      throw ConnectionError(origin_of(url) + ": leads from https to " + origin_of(target) +
                            "; not followed");
    url = target;
  }
  throw ConnectionError(origin_of(url) + ": more than " + std::to_string(kMaxRedirects) +
                        " redirects");
}

Reply HttpClient::head(const std::string& url) {
  Transfer transfer;
  return follow(transfer, url, true);
}

Reply HttpClient::get(const std::string& url, std::size_t max_bytes) {
  Transfer transfer;
  transfer.max_body = max_bytes;
  return follow(transfer, url, false);
}

Reply HttpClient::download(const std::string& url, std::uint64_t offset,
                           const std::function<bool(const Reply&)>& start,
                           const std::function<bool(std::string_view)>& sink) {
  Transfer transfer;
  transfer.offset = offset;
  transfer.start = &start;
  transfer.sink = &sink;
  return follow(transfer, url, false);
}

}  // namespace blip::hub
