#include "hub/pull.h"

#include <algorithm>
#include <fstream>

#include "base/json.h"
#include "blip/error.h"
#include "hub/file_download.h"
#include "hub/http_client.h"

namespace blip::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxListing = std::size_t{16} << 20;
constexpr const char* kDefaultEndpoint = "https://huggingface.co";

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kIo, message); }

std::string endpoint_of(const HubOptions& options) {
  std::string endpoint = options.endpoint.empty() ? environment("HF_ENDPOINT") : options.endpoint;
  if (endpoint.empty()) endpoint = kDefaultEndpoint;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!endpoint.starts_with("http://") && !endpoint.starts_with("https://"))
    throw Error(ErrorCode::kUsage, "the endpoint \"" + endpoint +
                                       "\" is no address; give one such as https://example.org");
  return endpoint;
}

std::string token_of(const HubOptions& options) {
  if (!options.token.empty()) return options.token;
  if (is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return "";
  std::string token = environment("HF_TOKEN");
  if (token.empty()) {
    const fs::path path = folder_in_environment("HF_TOKEN_PATH"),
                   home = folder_in_environment("HF_HOME"), cache = environment("XDG_CACHE_HOME");
    const fs::path base = !home.empty()    ? home
                          : !cache.empty() ? cache / "huggingface"
                                           : home_folder() / ".cache" / "huggingface";
    std::ifstream file(path.empty() ? base / "token" : path);
    std::getline(file, token);
  }
  // It becomes a header's value: nothing that would end the line.
  std::erase_if(token, [](char c) { return static_cast<unsigned char>(c) <= ' '; });
  return token;
}

std::string quoted(const std::string& text, const std::string& kept) {
  std::string result;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' ||
                       kept.find(c) != std::string::npos;
    constexpr char kDigits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if (plain)
      result += c;
    else
      result += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return result;
}

// W/"abc" and "abc" are abc.
std::string plain_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

std::string value_of(const Reply& reply, const char* linked, const char* plain) {
  const auto found = reply.first_headers.find(linked);
  return found != reply.first_headers.end() && !found->second.empty() ? found->second
                                                                      : reply.header(plain);
}

// A repository at one commit.
class Repository {
 public:
  Repository(const Name& name, const Cache& cache, const HubOptions& options)
      : name_(name),
        cache_(cache),
        options_(options),
        endpoint_(endpoint_of(options)),
        client_(endpoint_, token_of(options), options.cancel) {}

  fs::path pull() {
    list();
    const auto wanted = wanted_files(files_);
    if (wanted.empty())
      fail(name_.repository + " at " + without_password(endpoint_) +
           " has no weights that can be read: looked for .safetensors, .bin, .gguf, .pth");
    for (const std::string& file : wanted) fetch(file);
    // Last of all: a revision that the cache knows is whole.
    cache_.set_ref(name_, commit_);
    return cache_.snapshot(name_.repository, commit_);
  }

 private:
  std::string shown() const {
    return name_.repository + (name_.revision.empty() ? "" : "@" + name_.revision);
  }

  void list() {
    const std::string url = endpoint_ + "/api/models/" + name_.repository + "/revision/" +
                            quoted(name_.revision_or_main(), "");
    const Reply reply = ask([&] { return client_.get(url, kMaxListing); });
    if (reply.status != 200) refuse(reply, shown(), without_password(endpoint_));
    try {
      const auto json = read_json<nlohmann::json>(reply.body);
      commit_ = json.at("sha").get<std::string>();
      for (const auto& file : json.at("siblings"))
        files_.push_back(file.at("rfilename").get<std::string>());
    } catch (const std::exception& error) {
      fail(shown() + ": " + without_password(endpoint_) +
           " answered with something else than a model's listing: " + error.what());
    }
    if (!is_commit(commit_))
      fail(shown() + ": " + without_password(endpoint_) + " names no commit");
  }

  Reply ask(const std::function<Reply()>& request) {
    try {
      return with_retries(options_, request);
    } catch (const ConnectionError& error) {
      fail("cannot reach the hub for " + shown() + ": " + error.what() +
           "; check the network and its proxy, name a mirror in HF_ENDPOINT, or give the path of a "
           "copy instead of the name");
    }
  }

  RemoteFile describe(const std::string& file) {
    RemoteFile remote;
    remote.name = file;
    remote.url =
        endpoint_ + "/" + name_.repository + "/resolve/" + commit_ + "/" + quoted(file, "/");
    const Reply reply = ask([&] { return client_.head(remote.url); });
    if (reply.status >= 400 || reply.status < 200)
      refuse(reply, shown() + ": " + file, without_password(endpoint_));
    remote.etag = plain_etag(value_of(reply, "x-linked-etag", "etag"));
    const std::string size =
        value_of(reply, "x-linked-size", reply.status == 200 ? "content-length" : "");
    remote.size_known = !size.empty() && size.size() <= 18 &&
                        size.find_first_not_of("0123456789") == std::string::npos;
    if (remote.size_known) remote.size = std::stoull(size);
    // The tag becomes a file's name.
    if (remote.etag.empty() || remote.etag.size() > 128 || remote.etag.front() == '.' ||
        remote.etag.find('/') != std::string::npos)
      fail(shown() + ": " + file +
           ": the hub gives no usable ETag; HF_ENDPOINT may name a server that is no hub");
    return remote;
  }

  void fetch(const std::string& file) {
    const fs::path pointer = cache_.snapshot(name_.repository, commit_) / file;
    std::error_code ignored;
    if (fs::exists(pointer, ignored)) return drop_part(pointer);
    const RemoteFile remote = describe(file);
    const fs::path blob = cache_.blob(name_.repository, remote.etag);
    make_folders({blob.parent_path(), pointer.parent_path()});
    const FileLock lock(cache_.lock(name_.repository, remote.etag), options_.cancel);
    try {
      if (!fs::exists(blob, ignored)) download_file(client_, remote, blob, options_);
    } catch (const ConnectionError& error) {
      fail(shown() + ": the download broke off: " + error.what() +
           "; run the command again to go on where it was");
    }
    link(blob, pointer);
    drop_part(pointer);
  }

  // What an earlier try of ours left, if another program fetched the file since.
  static void drop_part(const fs::path& pointer) {
    std::error_code error;
    const fs::path blob = fs::read_symlink(pointer, error);
    if (!error) fs::remove((pointer.parent_path() / blob).string() + ".incomplete", error);
  }

  void make_folders(const std::vector<fs::path>& folders) {
    for (const fs::path& folder : folders) {
      std::error_code error;
      fs::create_directories(folder, error);
      if (error)
        fail("cannot write to the cache: " + folder.string() + ": " + error.message() +
             "; choose another folder with HF_HUB_CACHE");
    }
  }

  static void link(const fs::path& blob, const fs::path& pointer) {
    std::error_code error;
    fs::remove(pointer, error);  // a link to a blob that is gone
    fs::create_symlink(blob.lexically_relative(pointer.parent_path()), pointer, error);
    if (!error || fs::exists(pointer)) return;
    fs::rename(blob, pointer, error);  // a file system without links
    if (error) fail("cannot write " + pointer.string() + ": " + error.message());
  }

  const Name& name_;
  const Cache& cache_;
  const HubOptions& options_;
  const std::string endpoint_;
  HttpClient client_;
  std::string commit_;
  std::vector<std::string> files_;
};

void stop_if_offline(const HubOptions& options, const std::string& missing) {
  if (!options.offline && !offline_by_environment()) return;
  throw NotFound(ErrorCode::kIo, missing + ", and the network is not to be used (" +
                                     (options.offline            ? "--offline"
                                      : is_set("HF_HUB_OFFLINE") ? "HF_HUB_OFFLINE"
                                                                 : "TRANSFORMERS_OFFLINE") +
                                     ")");
}

}  // namespace

fs::path pull_repository(const Name& name, const Cache& cache, const HubOptions& options) {
  stop_if_offline(options, cache.missing(name));
  return Repository(name, cache, options).pull();
}

fs::path pull_address(const std::string& url, const fs::path& target, const HubOptions& options) {
  stop_if_offline(options, url + " is not in the cache: there is no " + target.string());
  HttpClient client("", "", options.cancel);
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  const FileLock lock(target.string() + ".lock", options.cancel);
  try {
    const Reply reply = with_retries(options, [&] { return client.head(url); });
    if (reply.status != 200) refuse(reply, url, "the server");
    RemoteFile file{target.filename().string(), url, plain_etag(reply.header("etag")), 0, false};
    const std::string size = reply.header("content-length");
    file.size_known = !size.empty() && size.size() <= 18 &&
                      size.find_first_not_of("0123456789") == std::string::npos;
    if (file.size_known) file.size = std::stoull(size);
    file.etag.clear();  // another server's tag is no checksum
    if (!fs::exists(target, error) || options.update) download_file(client, file, target, options);
  } catch (const ConnectionError& broken) {
    fail("cannot download " + url + ": " + broken.what() +
         "; run the command again to go on where it was");
  }
  return target;
}

}  // namespace blip::hub
