#include "image/heif_items.h"

#include <algorithm>
#include <array>

namespace blip::image {
namespace {

struct Box {
  std::string_view type;
  Bytes body;
};

// Calls `visit` for each box. False where one does not fit into the data.
template <class Visit>
bool each_box(Bytes data, Visit visit) {
  while (!data.empty()) {
    const auto size32 = read_u32(data, 0, Endian::kBig);
    if (!size32 || data.size() < 8) return false;
    std::uint64_t size = *size32, head = 8;
    if (size == 1) {  // a longer size follows
      const auto high = read_u32(data, 8, Endian::kBig), low = read_u32(data, 12, Endian::kBig);
      if (!high || !low) return false;
      size = std::uint64_t{*high} << 32 | *low;
      head = 16;
    } else if (size == 0) {  // to the end
      size = data.size();
    }
    if (size < head || size > data.size()) return false;
    const auto length = static_cast<std::size_t>(size);
    visit(Box{as_text(data.subspan(4, 4)), data.subspan(static_cast<std::size_t>(head),
                                                        length - static_cast<std::size_t>(head))});
    data = data.subspan(length);
  }
  return true;
}

// Numbers one after the other; `failed` where there were too few bytes.
struct Numbers {
  Bytes data;
  bool failed = false;

  std::uint32_t next(int bytes) {
    const auto value =
        bytes == 4 ? read_u32(data, 0, Endian::kBig) : read_u16(data, 0, Endian::kBig);
    failed = failed || !value;
    data = slice(data, static_cast<std::size_t>(bytes));
    return value.value_or(0);
  }
};

int version_of(Bytes body) { return read_u8(body, 0).value_or(0); }

void read_item(Bytes body, HeifItems& items) {
  const int version = version_of(body);
  if (version < 2) return;  // without a type
  Numbers numbers{slice(body, 4)};
  const std::uint32_t id = numbers.next(version == 2 ? 2 : 4);
  numbers.next(2);  // protection
  const Bytes type = slice(numbers.data, 0, 4);
  if (!numbers.failed && type.size() == 4) items.types.emplace(id, as_text(type));
}

void read_references(Bytes body, HeifItems& items) {
  const int width = version_of(body) == 0 ? 2 : 4;
  each_box(slice(body, 4), [&](const Box& box) {
    Numbers numbers{box.body};
    HeifItems::Reference reference{std::string(box.type), numbers.next(width), {}};
    const std::uint32_t count = numbers.next(2);
    for (std::uint32_t i = 0; i < count && !numbers.failed; ++i)
      reference.to.push_back(numbers.next(width));
    if (!numbers.failed) items.references.push_back(std::move(reference));
  });
}

void read_properties(Bytes body, HeifItems& items) {
  each_box(body, [&](const Box& container) {
    if (container.type != "ipco") return;
    each_box(container.body, [&](const Box& property) {
      constexpr std::size_t kChromaAt = 16;
      if (property.type == "hvcC")
        items.chroma = std::max(items.chroma, read_u8(property.body, kChromaAt).value_or(0) & 3);
    });
  });
}

}  // namespace

std::string HeifItems::type_of(std::uint32_t item) const {
  const auto found = types.find(item);
  return found == types.end() ? "" : found->second;
}

std::vector<std::string> HeifItems::coded_types(std::uint32_t item) const {
  if (type_of(item) != "grid") return {type_of(item)};
  std::vector<std::string> cells;
  for (const Reference& reference : references) {
    if (reference.from != item || reference.type != "dimg") continue;
    for (const std::uint32_t cell : reference.to) cells.push_back(type_of(cell));
  }
  return cells;
}

std::vector<std::uint32_t> HeifItems::auxiliaries() const {
  std::vector<std::uint32_t> found;
  for (const Reference& reference : references) {
    const bool refers =
        std::find(reference.to.begin(), reference.to.end(), primary) != reference.to.end();
    if (reference.type == "auxl" && refers) found.push_back(reference.from);
  }
  return found;
}

std::optional<HeifItems> read_heif_items(Bytes file) {
  HeifItems items;
  bool found = false;
  each_box(file, [&](const Box& box) {
    if (box.type != "meta" || found) return;
    found = true;
    each_box(slice(box.body, 4), [&](const Box& part) {
      if (part.type == "pitm")
        items.primary = Numbers{slice(part.body, 4)}.next(version_of(part.body) == 0 ? 2 : 4);
      if (part.type == "iinf") {
        const std::size_t entries = version_of(part.body) == 0 ? 6 : 8;
        each_box(slice(part.body, entries),
                 [&](const Box& entry) { read_item(entry.body, items); });
      }
      if (part.type == "iref") read_references(part.body, items);
      if (part.type == "iprp") read_properties(part.body, items);
    });
  });
  if (!found || items.type_of(items.primary).empty()) return std::nullopt;
  return items;
}

}  // namespace blip::image
