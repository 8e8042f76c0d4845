#include "backend/sophon/network_set.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "backend/sophon/digests.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

// What an input or output holds, which says what types it may have.
enum class Kind { kFloat, kIds, kKept };

struct Expected {
  Kind kind;
  std::vector<int> shape;
  // Of a cross: the network that makes it. Its shape is cross_shape().
  std::optional<Part> maker = std::nullopt;
};

struct Signature {
  std::vector<Expected> inputs, outputs;
  std::optional<Expected> parents = std::nullopt;  // one input more, which may be there
};

// The table of NETWORKS.md. B: rows.
Signature signature(const Manifest& m, Part part, int B) {
  const int S = m.image_size, N = m.image_tokens, Dv = m.image_width, D = m.width,
            h = m.head_width(), K = m.cache_rows();
  const int T = m.text_length, C = m.slots, P = m.prompt_length, V = m.vocabulary_size, E = m.embed;
  const Expected tokens{Kind::kKept, {1, N, Dv}};
  const auto cross = [](Part maker) { return Expected{Kind::kKept, {}, maker}; };
  const Expected cache{Kind::kKept, {B, K, C, h}}, logits{Kind::kFloat, {B, V}};
  const Expected token{Kind::kIds, {B, 1}}, position{Kind::kIds, {1, 1}}, text{Kind::kIds, {B, T}},
      mask{Kind::kFloat, {B, 1, 1, T}};
  const auto parents = B > 1 ? std::optional(Expected{Kind::kIds, {B}}) : std::nullopt;
  switch (part) {
    case Part::kVision: {
      Signature s{{{Kind::kFloat, {1, 3, S, S}}}, {tokens}};
      if (E > 0) s.outputs.push_back({Kind::kFloat, {1, E}});
      return s;
    }
    case Part::kTextCross:
    case Part::kQuestionCross:
    case Part::kCaptionCross:
      return {{tokens}, {cross(part)}};
    case Part::kMatch:
      return {{text, mask, cross(Part::kTextCross)},
              {{Kind::kFloat, {B, 2}}, {Kind::kKept, {B, T, D}}}};
    case Part::kText:
      return {{text, mask}, {{Kind::kFloat, {B, E}}}};
    case Part::kQuestion:
      return {{text, mask, cross(Part::kQuestionCross)}, {{Kind::kKept, {1, T, D}}, cross(part)}};
    case Part::kCaptionPrefill:
      return {{{Kind::kIds, {1, P}}, {Kind::kFloat, {1, 1, P}}, cross(Part::kCaptionCross)},
              {logits, cache}};
    case Part::kCaptionStep:
      return {{token, position, cache, cross(Part::kCaptionCross)}, {logits, cache}, parents};
    case Part::kAnswerStep:
      return {{token, position, cache, cross(Part::kQuestion), {Kind::kFloat, {1, 1, 1, T}}},
              {logits, cache},
              parents};
  }
  return {};
}

bool has_shape(const Port& port, const std::vector<int>& shape) {
  return port.shape.num_dims == static_cast<int>(shape.size()) &&
         std::equal(shape.begin(), shape.end(), port.shape.dims);
}

std::vector<int> cross_shape(const Manifest& m, Part maker, CrossLayout layout) {
  const int K = m.cache_rows(), h = m.head_width(),
            N = maker == Part::kQuestion ? m.text_length : m.image_tokens;
  switch (layout) {
    case CrossLayout::kLongAxis:
      break;
    case CrossLayout::kByToken:
      return {1, N, K, h};
    case CrossLayout::kByLayer:
      return {2 * m.layers, N, m.heads, h};
  }
  return {1, K, h, N};
}

// What the port's shape must be.
std::vector<int> shape_of(const Manifest& m, const Expected& expected, const Port& port,
                          Common& common) {
  if (!expected.maker) return expected.shape;
  auto layout = common.crosses.find(*expected.maker);
  if (layout == common.crosses.end()) {
    CrossLayout found = CrossLayout::kLongAxis;
    for (const CrossLayout other : {CrossLayout::kByToken, CrossLayout::kByLayer})
      if (has_shape(port, cross_shape(m, *expected.maker, other))) found = other;
    layout = common.crosses.emplace(*expected.maker, found).first;
  }
  return cross_shape(m, *expected.maker, layout->second);
}

bool has_type(const Port& port, Kind kind, std::optional<abi::DataType>& kept) {
  using abi::DataType;
  switch (kind) {
    case Kind::kFloat:
      return port.dtype == DataType::kF32;
    case Kind::kIds:
      return port.dtype == DataType::kF32 || port.dtype == DataType::kI32;
    case Kind::kKept:
      if (port.dtype != DataType::kF32 && port.dtype != DataType::kF16 &&
          port.dtype != DataType::kBf16)
        return false;
      if (!kept) kept = port.dtype;
      return port.dtype == *kept;
  }
  return false;
}

std::string text_of(Kind kind, const std::vector<int>& shape) {
  std::string text = kind == Kind::kFloat ? "f32 ["
                     : kind == Kind::kIds ? "i32 or f32 ["
                                          : "the kept type [";
  for (const int dim : shape) {
    if (text.back() != '[') text += ", ";
    text += std::to_string(dim);
  }
  return text + "]";
}

void check_side(const Manifest& manifest, const std::string& name, const char* side,
                std::span<const Port> ports, const std::vector<Expected>& expected,
                Common& common) {
  if (ports.size() != expected.size())
    throw Error(ErrorCode::kModel, name + " has " + std::to_string(ports.size()) + " " + side +
                                       "s; expected " + std::to_string(expected.size()));
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::vector<int> shape = shape_of(manifest, expected[i], ports[i], common);
    if (has_shape(ports[i], shape) && has_type(ports[i], expected[i].kind, common.kept)) continue;
    throw Error(ErrorCode::kModel, name + ": " + side + " " + std::to_string(i) + " is " +
                                       ports[i].text() + "; by the manifest it must be " +
                                       text_of(expected[i].kind, shape) +
                                       ": the file and the manifest are not of one build");
  }
}

}  // namespace

void check_ports(const Manifest& manifest, const Manifest::Entry& entry,
                 std::span<const Port> inputs, std::span<const Port> outputs, Common& common) {
  Signature expected = signature(manifest, entry.part, entry.rows);
  if (expected.parents && inputs.size() > expected.inputs.size())
    expected.inputs.push_back(*expected.parents);
  const std::string name = entry.file + ": network " + entry.name;
  check_side(manifest, name, "input", inputs, expected.inputs, common);
  check_side(manifest, name, "output", outputs, expected.outputs, common);
}

std::vector<int> split_rows(int rows, std::span<const int> sizes) {
  std::vector<int> parts;
  while (rows > 0) {
    const auto fits = std::lower_bound(sizes.begin(), sizes.end(), rows);
    parts.push_back(fits != sizes.end() ? *fits : sizes.back());
    rows -= parts.back();
  }
  return parts;
}

NetworkSet::NetworkSet(Manifest manifest, const std::shared_ptr<Device>& device)
    : manifest_(std::move(manifest)), device_(device) {
  if (const std::string chip = known_chip(*device); !label_fits(manifest_.chip, chip))
    throw Error(ErrorCode::kModel, manifest_.folder + " is compiled for " + manifest_.chip +
                                       ", but " + device->name() +
                                       " is another chip; build it with --chip " + chip);
  if (manifest_.cores > device->cores())
    throw Error(ErrorCode::kModel, manifest_.folder + " is compiled for " +
                                       std::to_string(manifest_.cores) + " cores; " +
                                       device->name() + " has " + std::to_string(device->cores()) +
                                       (device->cores() == 1 ? ": build it with --cores 1" : ""));
  auto& entries = manifest_.networks;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.part, a.rows) < std::pair(b.part, b.rows);
  });
  for (const Manifest::Entry& entry : entries)
    sizes_[static_cast<std::size_t>(entry.part)].push_back(entry.rows);
  for (std::size_t part = 0; part < kParts; ++part) networks_[part].resize(sizes_[part].size());
  std::set<std::string> files;
  for (const Manifest::Entry& entry : entries)
    if (files.insert(entry.file).second) open_file(entry.file, device);
  Common common;
  for (const Manifest::Entry& entry : entries) {
    const Network& network = get(entry.part, entry.rows);
    check_ports(manifest_, entry, network.inputs(), network.outputs(), common);
  }
}

void NetworkSet::open_file(const std::string& file, const std::shared_ptr<Device>& device) {
  const std::string path = (std::filesystem::path(manifest_.folder) / file).string();
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error) throw Error(ErrorCode::kIo, "cannot open bmodel " + path + ": " + error.message());
  for (const Manifest::Entry& entry : manifest_.networks)
    if (entry.file == file && entry.bytes != bytes)
      throw Error(ErrorCode::kModel,
                  path + " has " + std::to_string(bytes) + " bytes; the manifest says " +
                      std::to_string(entry.bytes) + ": it is truncated or not of this build");
  check_head(manifest_, file);
  const std::vector<NetworkPtr> found = Network::load(device, path);
  for (const Manifest::Entry& entry : manifest_.networks) {
    if (entry.file != file) continue;
    const auto network = std::find_if(found.begin(), found.end(),
                                      [&](const NetworkPtr& n) { return n->name() == entry.name; });
    if (network == found.end()) {
      std::string names;
      for (const NetworkPtr& n : found) names += (names.empty() ? "" : ", ") + n->name();
      throw Error(ErrorCode::kModel, path + " does not belong to this folder: it holds " + names +
                                         "; the manifest expects " + entry.name);
    }
    const auto& sizes = sizes_[static_cast<std::size_t>(entry.part)];
    const auto place = std::find(sizes.begin(), sizes.end(), entry.rows) - sizes.begin();
    networks_[static_cast<std::size_t>(entry.part)][static_cast<std::size_t>(place)] = *network;
  }
}

const Network& NetworkSet::get(Part part, int rows) const {
  const auto& all = sizes(part);
  const auto place = std::find(all.begin(), all.end(), rows);
  if (place == all.end())
    throw Error(ErrorCode::kModel, manifest_.path + ": no " + to_string(part) + " network of " +
                                       std::to_string(rows) + " rows");
  return *networks_[static_cast<std::size_t>(part)][static_cast<std::size_t>(place - all.begin())];
}

bool NetworkSet::takes_parents(Part step, int rows) const {
  return get(step, rows).inputs().size() > signature(manifest_, step, rows).inputs.size();
}

std::vector<NetworkPtr> NetworkSet::all() const {
  std::vector<NetworkPtr> list;
  for (const auto& part : networks_) list.insert(list.end(), part.begin(), part.end());
  return list;
}

}  // namespace blip::backend::sophon
