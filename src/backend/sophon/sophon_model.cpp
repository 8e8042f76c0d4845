#include "backend/sophon/sophon_model.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "backend/sophon/chips.h"
#include "backend/sophon/compiled_model.h"
#include "backend/sophon/digests.h"
#include "backend/sophon/folder_model.h"
#include "backend/sophon/guard.h"
#include "backend/sophon/runtime.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

constexpr std::string_view kAllChips = "all";

[[noreturn]] void unknown_device(const std::string& device) {
  throw Error(
      ErrorCode::kUsage,
      "unknown device \"" + device +
          "\"; use sophon, sophon:N with the number of one chip, sophon:N,M,... or sophon:all");
}

// A call of the vendor's library about chips that are not open yet, by a guard: a driver may hang
// as well.
template <class Work>
auto guarded(const std::string& name, Work work) {
  auto result = std::make_shared<std::optional<decltype(work())>>();
  Guard guard(name);
  guard.run([result, work = std::move(work)] {
    const CallTimer timer(call_limit(Library::get().emulated()), "opening it");
    result->emplace(work());
  });
  return std::move(**result);
}

int count_chips() {
  return guarded(kDeviceKind, [] { return Device::count(); });
}

std::shared_ptr<Device> open_chip(int id) {
  const CallTimer timer(call_limit(Library::get().emulated()), "opening it");
  return Device::open(id);
}

// The model on each of the chips: load_one(device), which owns what it uses.
template <class LoadOne>
std::shared_ptr<const Model> load_on(const std::string& device_name, LoadOne load_one,
                                     Approve approve) {
  std::vector<ChipLoader> loaders;
  for (const int id : chip_numbers(device_name, count_chips()))
    loaders.push_back({std::string(kDeviceKind) + ":" + std::to_string(id),
                       [id, load_one] { return load_one(open_chip(id)); }});
  return spread(std::move(loaders), std::move(approve));
}

void describe(const Capabilities& c, ModelInfo& info) {
  info.image_size = c.image_size;
  info.can_caption = c.caption;
  info.can_match_itm = c.itm;
  info.can_match_itc = c.itc;
  info.can_ask = c.ask;
  info.can_rank = c.rank;
  info.fixed_length = std::max(c.caption_length, c.answer_length);
  info.max_length = c.max_length;
  if (c.itm || c.itc || c.ask) {
    info.text_length = c.text_length;
    info.max_text_length = c.max_text_length;
  }
}

}  // namespace

std::vector<int> chip_numbers(const std::string& device, int count) {
  const DeviceName name = parse_device_name(device);
  if (!name.place) return {0};
  const std::string_view list = *name.place;
  std::vector<int> ids;
  if (list == kAllChips) {
    // with none, opening the first says so
    for (int id = 0; id < std::max(count, 1); ++id) ids.push_back(id);
    return ids;
  }
  for (const char* begin = list.data();; ++begin) {
    int id = 0;
    const char* end = list.data() + list.size();
    const auto [stopped, error] = std::from_chars(begin, end, id);
    if (error != std::errc() || id < 0 || (stopped != end && *stopped != ','))
      unknown_device(device);
    if (std::find(ids.begin(), ids.end(), id) != ids.end())
      throw Error(ErrorCode::kUsage, device + " names chip " + std::to_string(id) + " twice");
    ids.push_back(id);
    if (stopped == end) return ids;
    begin = stopped;
  }
}

Loaded load(const std::vector<std::string>& bmodels, const std::string& device_name,
            CompiledVocabulary words) {
  Loaded loaded;
  loaded.model = load_on(
      device_name,
      [bmodels, words](const std::shared_ptr<Device>& device) {
        return load_compiled(device, bmodels, words);
      },
      [] {});
  for (const std::string& path : bmodels)
    loaded.info.path += (loaded.info.path.empty() ? "" : ", ") + path;
  loaded.info.format = "bmodel";
  loaded.info.name = std::filesystem::path(bmodels.front()).stem().string();
  describe(loaded.model->capabilities(), loaded.info);
  return loaded;
}

Loaded load(const Manifest& manifest, const std::string& device_name) {
  const auto digests = std::make_shared<const DigestCheck>(manifest);
  return {load_on(
              device_name,
              [manifest](const std::shared_ptr<Device>& device) {
                return load_folder(device, manifest);
              },
              [digests] { digests->wait(); }),
          info_of(manifest)};
}

ModelInfo info_of(const Manifest& manifest) {
  ModelInfo info;
  info.path = manifest.folder;
  info.format = "bmodel";
  info.name = manifest.checkpoint;
  info.vocab_size = manifest.vocabulary_size;
  info.embed_dim = manifest.embed;
  info.prompt = manifest.prompt;
  info.bos_token = manifest.dec;
  info.eos_token = manifest.sep;
  info.pad_token = manifest.pad;
  info.question_token = manifest.enc;
  describe(capabilities_of(manifest), info);
  return info;
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> list;
  try {
    for (int id = 0; id < count_chips(); ++id) {
      const std::string name = std::string(kDeviceKind) + ":" + std::to_string(id);
      try {
        list.push_back({name, guarded(name, [id] { return Device::open(id)->describe(); })});
      } catch (const Error& error) {
        list.push_back({name, error.what()});
      }
    }
  } catch (const Error& error) {
    // No runtime: a machine without chips, unless somebody said where it should be.
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
    if (const char* folder = std::getenv(kFolderVariable); folder && *folder)
      list.push_back({kDeviceKind, error.what()});
  }
  return list;
}

}  // namespace blip::backend::sophon
