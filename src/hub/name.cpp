#include "hub/name.h"

#include <algorithm>
#include <utility>

#include "base/ascii.h"
#include "blip/hub.h"

namespace blip {
namespace hub {
namespace {

constexpr std::size_t kMaxPart = 96;  // the hub's own limit for a repository's whole name
constexpr std::size_t kMaxRevision = 200;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

// A file's or folder's own name, without anything that means another place.
bool is_plain(std::string_view part) {
  return !part.empty() && part.size() <= kMaxPart && part.front() != '.' && part.front() != '-' &&
         part.back() != '.' && part.find("..") == std::string_view::npos &&
         part.find("--") == std::string_view::npos &&
         std::all_of(part.begin(), part.end(), is_word);
}

bool is_revision(std::string_view revision) {
  if (revision.empty() || revision.size() > kMaxRevision) return false;
  for (std::size_t start = 0; start <= revision.size();) {
    const std::size_t end = std::min(revision.find('/', start), revision.size());
    const std::string_view part = revision.substr(start, end - start);
    if (part.empty() || part.front() == '.' || part.find("..") != std::string_view::npos ||
        !std::all_of(part.begin(), part.end(), is_word)) {
      return false;
    }
    start = end + 1;
  }
  return true;
}

// Levenshtein's distance, of two short texts.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

std::optional<Name> parse_name(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::string_view repository = text.substr(0, at);
  const std::size_t slash = repository.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  if (!is_plain(repository.substr(0, slash)) || !is_plain(repository.substr(slash + 1))) {
    return std::nullopt;
  }
  Name name{std::string(repository), ""};
  if (at != std::string_view::npos) {
    name.revision = text.substr(at + 1);
    if (!is_revision(name.revision)) return std::nullopt;
  }
  return name;
}

bool is_commit(std::string_view revision) {
  return revision.size() == 40 && std::all_of(revision.begin(), revision.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::vector<std::string> nearest(const std::string& text, const std::vector<std::string>& names) {
  const std::string wanted = lower(text.substr(0, 2 * kMaxPart));
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& name : names) {
    // Also without the organisation, which people leave out.
    const std::size_t slash = name.find('/');
    std::size_t off = distance(wanted, lower(name));
    if (slash != std::string::npos)
      off = std::min(off, distance(wanted, lower(name.substr(slash + 1))) + 1);
    if (off <= std::max<std::size_t>(2, wanted.size() / 3)) near.emplace_back(off, name);
  }
  std::sort(near.begin(), near.end());
  near.erase(std::unique(near.begin(), near.end()), near.end());
  std::vector<std::string> best;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, near.size()); ++i)
    best.push_back(near[i].second);
  return best;
}

}  // namespace hub

// Sizes are those of the files that pull() takes, in the hub's listing.
const std::vector<KnownModel>& known_models() {
  constexpr const char* kLicence = "BSD-3-Clause";
  const auto official = [](const char* file) {
    return std::string("https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/") +
           file;
  };
  static const std::vector<KnownModel> models = {
      {"caption-base", "Salesforce/blip-image-captioning-base", "caption", kLicence, 990'000'000},
      {"caption-large", "Salesforce/blip-image-captioning-large", "caption", kLicence,
       1'880'000'000},
      {"vqa-base", "Salesforce/blip-vqa-base", "ask", kLicence, 1'540'000'000},
      {"vqa-capfilt-large", "Salesforce/blip-vqa-capfilt-large", "ask", kLicence, 1'540'000'000},
      {"match-base-coco", "Salesforce/blip-itm-base-coco", "match", kLicence, 895'000'000},
      {"match-base-flickr", "Salesforce/blip-itm-base-flickr", "match", kLicence, 895'000'000},
      {"match-large-coco", "Salesforce/blip-itm-large-coco", "match", kLicence, 1'780'000'000},
      {"match-large-flickr", "Salesforce/blip-itm-large-flickr", "match", kLicence, 1'780'000'000},
      {"official-caption-base", official("model_base_caption_capfilt_large.pth"), "caption",
       kLicence, 896'000'000},
      {"official-caption-large", official("model_large_caption.pth"), "caption", kLicence,
       1'780'000'000},
      {"official-match-base-coco", official("model_base_retrieval_coco.pth"), "match", kLicence,
       1'790'000'000},
      {"official-match-base-flickr", official("model_base_retrieval_flickr.pth"), "match", kLicence,
       1'790'000'000},
      {"official-match-large-coco", official("model_large_retrieval_coco.pth"), "match", kLicence,
       3'550'000'000},
      {"official-match-large-flickr", official("model_large_retrieval_flickr.pth"), "match",
       kLicence, 3'550'000'000},
      {"official-vqa-base", official("model_base_vqa_capfilt_large.pth"), "ask", kLicence,
       1'450'000'000},
  };
  return models;
}

bool is_model_name(const std::string& text) {
  const auto& known = known_models();
  return hub::parse_name(text).has_value() ||
         std::any_of(known.begin(), known.end(),
                     [&](const KnownModel& m) { return m.short_name == text; });
}

}  // namespace blip
