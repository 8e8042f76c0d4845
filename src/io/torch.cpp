// torch.save's zip archive: NAME/data.pkl describes the tensors, NAME/data/KEY are the storages
// they are views of.
#include <algorithm>
#include <map>
#include <set>

#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/parsed_tensors.h"
#include "io/unpickler.h"
#include "io/zip_archive.h"

namespace blip::io {
namespace {

constexpr std::size_t kMaxDimensions = 64;
// What may be unpacked or copied: weights hardly compress, so several times the file's size is no
// checkpoint but a bomb.
constexpr std::uint64_t kFreeCopies = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxExpansion = 8;
// A pickle can name one long text many times, so what is copied out of it is limited.
constexpr std::size_t kMaxMetadata = 1000;
constexpr std::size_t kMaxMetadataText = 4096;
// How deep in the root a state dict may lie, and how much of a key is shown.
constexpr int kMaxStateDepth = 4;
constexpr std::size_t kMaxKey = 60;

class TorchReader {
 public:
  TorchReader(std::span<const std::byte> data, const std::string& file)
      : file_(file),
        archive_(data, file),
        copies_left_(kFreeCopies + data.size() * kMaxExpansion) {}

  ParsedTensors read() {
    const std::string& first = archive_.first_name();
    const std::size_t slash = first.find('/');
    folder_ = slash == std::string::npos ? "" : first.substr(0, slash + 1);
    if (!archive_.contains(folder_ + "data.pkl"))
      fail("a zip archive without " + quote(folder_ + "data.pkl") +
           ", so not written by torch.save");
    if (archive_.contains(folder_ + "constants.pkl"))
      fail(
          "a TorchScript program; save its state dict instead: torch.save(model.state_dict(), "
          "...)");
    check_byte_order();
    const std::string pickle_name = folder_ + "data.pkl";
    const std::string where = file_ + ": " + pickle_name;
    pickle_ = unpickle(bytes_of(pickle_name), where);

    const Value& root = pickle_[pickle_.root];
    if (root.kind != ValueKind::dict)
      fail("it holds no dict at its root; save a state dict: torch.save(model.state_dict(), ...)");
    read_state(find_state(root));
    read_metadata(root, "");
    if (const Value* config = pickle_.find(root, "config");
        config != nullptr && config->kind == ValueKind::dict) {
      read_metadata(*config, "config.");
    }
    return std::move(parsed_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kModel, file_ + ": " + message);
  }

  void check_byte_order() {
    const std::string name = folder_ + "byteorder";
    if (!archive_.contains(name)) return;
    const std::string order(as_text(bytes_of(name)));
    if (order != "little")
      fail("its numbers are stored in the byte order " + quote(order) +
           "; only little endian is supported");
  }

  // An entry's bytes: in place where stored, else unpacked into a buffer that the result keeps.
  std::span<const std::byte> bytes_of(const std::string& name) {
    const auto known = unpacked_.find(name);
    if (known != unpacked_.end()) return known->second;
    if (archive_.is_stored(name)) return archive_.view(name);
    spend(archive_.size_of(name), "entry " + quote(name));
    parsed_.buffers.push_back(archive_.read(name));
    return unpacked_[name] = parsed_.buffers.back();
  }

  void spend(std::uint64_t bytes, const std::string& what) {
    if (bytes > copies_left_)
      fail(what + ": unpacking it would take " + std::to_string(bytes) +
           " bytes, far more than the file has; refused");
    copies_left_ -= bytes;
  }

  // A dict of tensors, and the keys that lead to it.
  struct State {
    const Value* dict;
    std::string path;
    std::size_t tensors = 0, matrices = 0;
  };

  void count_tensors(State& state) const {
    for (std::size_t i = 0; i + 1 < state.dict->items.size(); i += 2) {
      const Value& value = pickle_[state.dict->items[i + 1]];
      if (pickle_[state.dict->items[i]].kind != ValueKind::text || value.kind != ValueKind::tensor)
        continue;
      ++state.tensors;
      state.matrices += pickle_[value.items[1]].items.size() >= 2 ? 1 : 0;
    }
  }

  // The dicts under text keys of these, each once. What an optimizer keeps is as large as the
  // weights and none of them.
  std::vector<State> inside(const std::vector<State>& outer, std::set<const Value*>& seen) const {
    std::vector<State> result;
    for (const State& state : outer) {
      for (std::size_t i = 0; i + 1 < state.dict->items.size(); i += 2) {
        const Value& key = pickle_[state.dict->items[i]];
        const Value& value = pickle_[state.dict->items[i + 1]];
        if (key.kind != ValueKind::text || value.kind != ValueKind::dict ||
            key.text.starts_with("optim"))
          continue;
        if (!seen.insert(&value).second) continue;
        result.push_back({&value, state.path + "[" + quote(key.text.substr(0, kMaxKey)) + "]"});
        count_tensors(result.back());
      }
    }
    return result;
  }

  // The only dict that holds tensors: the root or one inside it, under whatever key. Of several,
  // those without a matrix (the states of random generators, say) do not count.
  const Value& find_state(const Value& root) const {
    std::set<const Value*> seen = {&root};
    State top{&root, "the root"};
    count_tensors(top);
    std::vector<State> level = inside({{&root, ""}}, seen);
    std::vector<State> all = level;
    if (top.tensors > 0) all.push_back(top);
    const auto empty = [](const State& state) { return state.tensors == 0; };
    for (int depth = 2; depth <= kMaxStateDepth && std::all_of(all.begin(), all.end(), empty);
         ++depth) {
      all = level = inside(level, seen);
    }
    std::erase_if(all, empty);
    if (all.empty())
      fail("no tensors in its root dict, nor in a dict inside; found " + keys_of(root));
    if (all.size() > 1 && std::any_of(all.begin(), all.end(),
                                      [](const State& state) { return state.matrices > 0; })) {
      std::erase_if(all, [](const State& state) { return state.matrices == 0; });
    }
    if (all.size() > 1) fail_several(all);
    return *all.front().dict;
  }

  [[noreturn]] void fail_several(const std::vector<State>& states) const {
    constexpr std::size_t kShown = 8;
    std::string list;
    for (std::size_t i = 0; i < std::min(states.size(), kShown); ++i) {
      list += (i == 0 ? "" : ", ") + states[i].path + " (" + std::to_string(states[i].tensors) +
              (states[i].tensors == 1 ? " tensor)" : " tensors)");
    }
    if (states.size() > kShown) list += ", ...";
    const State& named = states.front();
    fail("tensors lie in " + std::to_string(states.size()) + " places: " + list +
         "; save the one you want alone: torch.save(torch.load(\"old.pth\", map_location=\"cpu\")" +
         named.path + ", \"new.pth\")");
  }

  void read_state(const Value& state) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i + 1 < state.items.size(); i += 2) {
      const Value& name = pickle_[state.items[i]];
      const Value& value = pickle_[state.items[i + 1]];
      if (name.kind != ValueKind::text || value.kind != ValueKind::tensor) continue;
      if (!names.insert(name.text).second)
        fail("the tensor " + quote(name.text) + " appears twice");
      add_tensor(name.text, value);
    }
  }

  std::vector<std::int64_t> integers(ValueRef tuple) const {
    std::vector<std::int64_t> result;
    for (const ValueRef item : pickle_[tuple].items) result.push_back(pickle_[item].integer);
    return result;
  }

  void add_tensor(const std::string& name, const Value& value) {
    const std::string where = "tensor " + quote(name) + ": ";
    if (!value.element) fail(where + "its element type is not supported");
    TensorView tensor;
    tensor.name = name;
    tensor.type = *value.element;
    if (pickle_[value.items[1]].items.size() > kMaxDimensions ||
        pickle_[value.items[2]].items.size() != pickle_[value.items[1]].items.size()) {
      fail(where + "its size and stride do not match or have over 64 dimensions");
    }
    tensor.shape = integers(value.items[1]);
    const std::vector<std::int64_t> strides = integers(value.items[2]);
    const auto bytes = tensor_bytes(tensor.type, tensor.shape);
    if (!bytes) fail(where + tensor.describe() + " is impossible");
    const std::span<const std::byte> storage = storage_bytes(pickle_[value.items[0]], where);
    const std::size_t element = byte_size(tensor.type, 1);
    if (value.integer < 0) fail(where + "its offset is negative");
    if (*bytes == 0) {
      parsed_.tensors.push_back(std::move(tensor));
      return;
    }
    const auto offset = static_cast<std::uint64_t>(value.integer);
    const auto last = last_element(offset, tensor.shape, strides);
    if (!last || *last >= storage.size() / element) {
      fail(where + tensor.describe() + " with strides " + describe_shape(strides) + " at element " +
           std::to_string(offset) + " reaches past its storage of " +
           std::to_string(storage.size() / element) + " elements");
    }
    const auto from = storage.subspan(static_cast<std::size_t>(offset) * element);
    tensor.data = is_contiguous(tensor.shape, strides) ? from.first(*bytes)
                                                       : gathered(from, tensor, strides, *bytes);
    parsed_.tensors.push_back(std::move(tensor));
  }

  std::span<const std::byte> storage_bytes(const Value& storage, const std::string& where) {
    // An untyped storage counts bytes.
    const std::size_t element = storage.element ? byte_size(*storage.element, 1) : 1;
    std::uint64_t expected = 0;
    if (storage.integer < 0 ||
        !multiply(static_cast<std::uint64_t>(storage.integer), element, &expected)) {
      fail(where + "its storage has an impossible size");
    }
    const std::string name = folder_ + "data/" + storage.text;
    const std::span<const std::byte> bytes = bytes_of(name);
    if (bytes.size() < expected) {
      fail(where + "its storage " + quote(name) + " has " + std::to_string(bytes.size()) +
           " bytes, expected " + std::to_string(expected));
    }
    return bytes.first(static_cast<std::size_t>(expected));
  }

  // The furthest element that the tensor reaches; nullopt for negative strides or overflow. No
  // dimension is 0.
  static std::optional<std::uint64_t> last_element(std::uint64_t offset,
                                                   std::span<const std::int64_t> shape,
                                                   std::span<const std::int64_t> strides) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      std::uint64_t reach = 0;
      if (strides[i] < 0 ||
          !multiply(static_cast<std::uint64_t>(shape[i] - 1),
                    static_cast<std::uint64_t>(strides[i]), &reach) ||
          !add(offset, reach, &offset)) {
        return std::nullopt;
      }
    }
    return offset;
  }

  // Dimensions of 1 may have any stride.
  static bool is_contiguous(std::span<const std::int64_t> shape,
                            std::span<const std::int64_t> strides) {
    std::int64_t expected = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (shape[i] != 1 && strides[i] != expected) return false;
      expected *= shape[i];  // fits: the whole product was checked
    }
    return true;
  }

  // The elements in row-major order, copied into a buffer of their own.
  std::span<const std::byte> gathered(std::span<const std::byte> from, const TensorView& tensor,
                                      std::span<const std::int64_t> strides, std::size_t bytes) {
    spend(bytes, "tensor " + quote(tensor.name));
    const std::size_t element = byte_size(tensor.type, 1), dimensions = tensor.shape.size();
    std::vector<std::byte>& copy = parsed_.buffers.emplace_back(bytes);
    std::vector<std::int64_t> index(dimensions, 0);
    std::size_t source = 0;
    for (std::size_t to = 0; to < bytes; to += element) {
      std::memcpy(&copy[to], &from[source * element], element);
      for (std::size_t i = dimensions; i-- > 0;) {
        source += static_cast<std::size_t>(strides[i]);
        if (++index[i] < tensor.shape[i]) break;
        source -= static_cast<std::size_t>(strides[i]) * static_cast<std::size_t>(tensor.shape[i]);
        index[i] = 0;
      }
    }
    return copy;
  }

  // Plain values of the root and of "config": the epoch, the picture's size.
  void read_metadata(const Value& dict, const std::string& prefix) {
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const Value& key = pickle_[dict.items[i]];
      const Value& value = pickle_[dict.items[i + 1]];
      if (key.kind != ValueKind::text ||
          std::max(key.text.size(), value.text.size()) > kMaxMetadataText)
        continue;
      if (parsed_.metadata.size() >= kMaxMetadata) return;
      const std::string name = prefix + key.text;
      if (value.kind == ValueKind::text) parsed_.metadata[name] = value.text;
      if (value.kind == ValueKind::integer) parsed_.metadata[name] = value.integer;
      if (value.kind == ValueKind::real) parsed_.metadata[name] = value.real;
      if (value.kind == ValueKind::boolean) parsed_.metadata[name] = value.integer != 0;
    }
  }

  std::string keys_of(const Value& dict) const {
    std::string result;
    for (std::size_t i = 0; i + 1 < dict.items.size() && i < 20; i += 2) {
      const Value& key = pickle_[dict.items[i]];
      if (key.kind == ValueKind::text) result += (result.empty() ? "" : ", ") + quote(key.text);
    }
    return result.empty() ? "no names" : result;
  }

  const std::string& file_;
  ZipArchive archive_;
  std::uint64_t copies_left_;
  std::string folder_;
  Pickle pickle_;
  ParsedTensors parsed_;
  std::map<std::string, std::span<const std::byte>> unpacked_;
};

// Before version 1.6 torch.save wrote a bare pickle that begins with this number, and before that a
// tar file.
bool is_legacy(std::span<const std::byte> data) {
  constexpr std::string_view kPickle = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  constexpr std::size_t kTarMagic = 257;
  const std::string_view text = as_text(data);
  return text.starts_with(kPickle) ||
         (text.size() > kTarMagic + 5 && text.substr(kTarMagic, 5) == "ustar");
}

}  // namespace

ParsedTensors read_torch(std::span<const std::byte> data, const std::string& file) {
  const auto fail = [&file](const std::string& message) {
    throw Error(ErrorCode::kModel, file + ": " + message);
  };
  if (is_legacy(data)) {
    fail(
        "written by torch.save before version 1.6; save it again with a newer torch: "
        "torch.save(torch.load(\"old.pth\", map_location=\"cpu\", weights_only=True), "
        "\"new.pth\")");
  }
  if (!as_text(data).starts_with("PK")) {
    const std::string hint = hint_for(data);
    fail(hint.empty() ? "no torch archive: it does not begin as a zip file" : hint);
  }
  return TorchReader(data, file).read();
}

}  // namespace blip::io
