#include "cli/packed_results.h"

namespace blip::cli {
namespace {

// What was looked for is behind what was found by a batch or two: a page more than the index has.
constexpr std::size_t kPages = kLookPages + 1;

// The text up to the next NUL, which is taken off with it.
std::string_view cut(std::string_view& text) {
  const std::string_view part = text.substr(0, text.find('\0'));
  text.remove_prefix(part.size() + 1);
  return part;
}

}  // namespace

PackedResult PackedResults::at(std::uint64_t number) const {
  const Page& page = pages_[static_cast<std::size_t>(number / kLooksOfPage - dropped_)];
  const auto place = static_cast<std::size_t>(number % kLooksOfPage);
  const std::size_t begin = place == 0 ? 0 : page.ends[place - 1];
  std::string_view text = std::string_view(page.text).substr(begin, page.ends[place] - begin);
  const std::string name(cut(text)), failure(cut(text));
  return {name, failure, std::string(text)};
}

void PackedResults::add(std::string_view name, std::string_view failure, std::string_view packed) {
  if (pages_.empty() || pages_.back().ends.size() == kLooksOfPage) {
    if (!pages_.empty()) pages_.back().text.shrink_to_fit();
    if (pages_.size() == kPages) {
      pages_.pop_front();
      ++dropped_;
    }
    pages_.emplace_back();
  }
  Page& page = pages_.back();
  page.text += name.substr(0, name.find('\0'));
  page.text += '\0';
  page.text += failure.substr(0, failure.find('\0'));
  page.text += '\0';
  page.text += packed;
  page.ends.push_back(static_cast<std::uint32_t>(page.text.size()));
}

}  // namespace blip::cli
