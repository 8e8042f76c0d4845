// Device strings, the options of a device's kind, and backends that a program adds.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "backend/registry.h"
#include "blip/blip.h"
#include "unit/model/model_fixture.h"

namespace blip {
namespace {

Error error_of(const std::string& path, const EngineOptions& options) {
  try {
    Engine::load(path, options);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::kUsage, "nothing was thrown");
}

TEST(Devices, KindsAreFoundByTheWordBeforeTheColon) {
  EXPECT_EQ(device_kind("cpu").name, "cpu");
  EXPECT_TRUE(device_kind("cpu").on_host);
  EXPECT_EQ(device_kind("sophon").name, "sophon");
  EXPECT_EQ(device_kind("sophon:0,1").name, "sophon");
  EXPECT_TRUE(device_kind("sophon:all").prints);
  EXPECT_FALSE(device_kind("sophon:all").on_host);
  EXPECT_EQ(device_kind("sophon:0").option_names(), "file, tokenizer");
  for (const std::string device : {"", "cuda:0", "cpu:1", "CPU", "sophon0", ":0"}) {
    const Error error = error_of("model.gguf", {.device = device});
    EXPECT_EQ(error.code(), ErrorCode::kDevice) << device;
    EXPECT_EQ(std::string(error.what())
                  .find("unknown device \"" + device +
                        "\"; this build has: cpu, sophon:N, sophon:N,M, "
                        "sophon:all"),
              0u)
        << error.what();
  }
}

TEST(Devices, ModelsOfAFormatRunWhereItBelongs) {
  EXPECT_EQ(device_for("a.bmodel"), "sophon:0");
  EXPECT_EQ(device_for("a.gguf"), "cpu");
  const Error error = error_of("a.bmodel", {});
  EXPECT_EQ(error.code(), ErrorCode::kUsage);
  EXPECT_STREQ(error.what(),
               "a.bmodel runs on sophon alone: choose one of its devices, sophon:N, sophon:N,M, "
               "sophon:all");
}

TEST(Devices, RefuseOptionsOfOthers) {
  const Error none = error_of("model.gguf", {.device_options = {{"file", "a.bmodel"}}});
  EXPECT_EQ(none.code(), ErrorCode::kUsage);
  EXPECT_STREQ(none.what(),
               "file has no effect on cpu: the device must be sophon:N, sophon:N,M, sophon:all");
  EXPECT_STREQ(error_of("model.gguf", {.device_options = {{"precision", "f16"}}}).what(),
               "precision has no effect on cpu, which takes no options of its own");
  const Error other =
      error_of("a.bmodel", {.device = "sophon:0", .device_options = {{"precision", "f16"}}});
  EXPECT_EQ(other.code(), ErrorCode::kUsage);
  EXPECT_STREQ(other.what(), "precision has no effect on sophon:0; it takes file, tokenizer");
}

// What a program's own backend is asked to load.
class NotedBackend final : public backend::Backend {
 public:
  const DeviceKind& kind() const override {
    static const DeviceKind kind{.name = "noted",
                                 .forms = "noted, noted:N",
                                 .numbered = true,
                                 .options = {{.name = "part", .help = "", .names_model = true},
                                             {.name = "speed", .help = ""}}};
    return kind;
  }
  std::vector<DeviceInfo> devices() const override { return {{"noted:3", "a note"}}; }
  std::string device_for(const std::string& path) const override {
    return path.ends_with(".noted") ? "noted:3" : "";
  }
  std::optional<ModelInfo> inspect(const std::string& path) const override {
    ModelInfo info;
    info.path = path;
    info.format = "noted";
    return info;
  }
  backend::Loaded load(const backend::LoadRequest& request) const override {
    std::string said = request.device.kind + " at " + request.device.place.value_or("nowhere") +
                       " from \"" + request.path + "\"";
    for (const char* option : {"part", "speed"})
      for (const std::string& value : request.values_of(option))
        said += std::string("; ") + option + " " + value;
    throw Error(ErrorCode::kUnsupported, said);
  }
};

const NotedBackend noted;
const backend::Registration registered(noted);

TEST(Devices, AProgramAddsABackendWithOptionsOfItsOwn) {
  EXPECT_EQ(device_for("x.noted"), "noted:3");
  EXPECT_EQ(inspect("x.noted").format, "noted");
  const auto list = devices();
  EXPECT_TRUE(std::any_of(list.begin(), list.end(),
                          [](const DeviceInfo& device) { return device.id == "noted:3"; }));
  EXPECT_STREQ(error_of("x.noted", {.device = "noted"}).what(),
               "noted at nowhere from \"x.noted\"");
  EngineOptions options{.device = "noted:7"};
  options.device_options = {{"part", "a"}, {"speed", "2"}, {"part", "b"}};
  const Error error = error_of("", options);
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_STREQ(error.what(), "noted at 7 from \"\"; part a; part b; speed 2");
  EXPECT_STREQ(error_of("x.noted", {}).what(),
               "x.noted runs on noted alone: choose one of its devices, noted, noted:N");
}

}  // namespace
}  // namespace blip
