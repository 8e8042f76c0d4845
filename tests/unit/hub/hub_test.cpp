// Names, the cache's layout, which files of a repository are wanted; downloads are tested in
// tests/hub.
#include "blip/hub.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "hub/cache.h"
#include "hub/name.h"

namespace blip::hub {
namespace {

namespace fs = std::filesystem;

const std::string kCommit(40, 'a'), kOther(40, 'b');

class HubTest : public ::testing::Test {
 protected:
  HubTest() {
    std::string pattern = (fs::temp_directory_path() / "blip-hub-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    options_.cache = (folder_ / "cache").string();
    setenv("MODELSCOPE_CACHE", (folder_ / "modelscope").c_str(), 1);
  }
  ~HubTest() override { fs::remove_all(folder_); }

  static void write(const fs::path& file, const std::string& text) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  // A file of a snapshot as the hub's own package leaves it.
  void add(const std::string& commit, const std::string& name, const std::string& text,
           const std::string& etag) {
    const fs::path repository = fs::path(options_.cache) / "models--org--name";
    write(repository / "blobs" / etag, text);
    fs::create_directories(repository / "snapshots" / commit);
    fs::create_symlink("../../blobs/" + etag, repository / "snapshots" / commit / name);
  }
  void point(const std::string& revision, const std::string& commit) {
    write(fs::path(options_.cache) / "models--org--name" / "refs" / revision, commit);
  }

  fs::path folder_;
  HubOptions options_;
};

TEST(Names, OfTwoPartsAndARevision) {
  const auto name = parse_name("Salesforce/blip-vqa-base@refs/pr/1");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->repository, "Salesforce/blip-vqa-base");
  EXPECT_EQ(name->revision, "refs/pr/1");
  EXPECT_EQ(parse_name("a/b")->revision_or_main(), "main");
  for (const char* text :
       {"a",     "a/b/c",       "/a/b",     "a/",     "/b",       "../b",  "a/..",
        "a/.b",  "a/b@",        "a/b@../c", "a/b@/c", "a/b@c//d", "a b/c", "a/b@c d",
        "a/b\n", "https://a/b", "./a/b",    "a/b.",   "a/b--c",   "-a/b",  "a/-b"}) {
    EXPECT_FALSE(parse_name(text)) << text;
  }
  EXPECT_FALSE(parse_name("a/" + std::string(97, 'x')));
}

TEST(Names, TheNearestAreTold) {
  const std::vector<std::string> names = {"Salesforce/blip-vqa-base",
                                          "Salesforce/blip-itm-base-coco", "caption-base"};
  EXPECT_EQ(nearest("salesforce/blip-vqa-bse", names).front(), "Salesforce/blip-vqa-base");
  EXPECT_EQ(nearest("caption-bsae", names).front(), "caption-base");
  EXPECT_TRUE(nearest("something-else-entirely", names).empty());
}

TEST(Names, KnownOnesAreDistinctAndWellFormed) {
  std::set<std::string> seen;
  for (const KnownModel& model : known_models()) {
    EXPECT_TRUE(seen.insert(model.short_name).second) << model.short_name;
    EXPECT_TRUE(parse_name(model.source) || model.source.starts_with("https://")) << model.source;
    EXPECT_TRUE(is_model_name(model.short_name));
  }
}

TEST_F(HubTest, APathThatExistsIsItself) {
  EXPECT_EQ(find_model(folder_.string(), options_), folder_.string());
  EXPECT_EQ(find_model("org/name", options_), "");
  EXPECT_EQ(find_model("no name at all", options_), "");
}

TEST_F(HubTest, ARevisionIsFoundByItsRefAndByItsCommit) {
  add(kCommit, "config.json", "{}", "c1");
  add(kCommit, "model.safetensors", "weights", "w1");
  const std::string path =
      (fs::path(options_.cache) / "models--org--name" / "snapshots" / kCommit).string();
  EXPECT_EQ(find_model("org/name", options_), "");  // no ref: nobody says that this is main
  EXPECT_EQ(find_model("org/name@" + kCommit, options_), path);
  point("main", kCommit);
  point("refs/pr/1", kCommit);
  EXPECT_EQ(find_model("org/name", options_), path);
  EXPECT_EQ(find_model("org/name@refs/pr/1", options_), path);
  EXPECT_EQ(find_model("org/name@other", options_), "");
}

TEST_F(HubTest, WhatIsNotWholeIsNotFound) {
  point("main", kCommit);
  add(kCommit, "config.json", "{}", "c1");
  EXPECT_EQ(find_model("org/name", options_), "");
  add(kOther, "model.safetensors", "weights without their configuration", "w9");
  EXPECT_EQ(find_model("org/name@" + kOther, options_), "");
  add(kCommit, "model.safetensors.index.json",
      R"({"weight_map":{"a":"model-00001-of-00002.safetensors",)"
      R"("b":"model-00002-of-00002.safetensors"}})",
      "i1");
  add(kCommit, "model-00001-of-00002.safetensors", "1", "s1");
  EXPECT_EQ(find_model("org/name", options_), "");
  add(kCommit, "model-00002-of-00002.safetensors", "2", "s2");
  EXPECT_NE(find_model("org/name", options_), "");
  fs::remove(fs::path(options_.cache) / "models--org--name" / "blobs" / "s1");  // a link to nothing
  EXPECT_EQ(find_model("org/name", options_), "");
}

TEST_F(HubTest, ModelScopesFoldersAreFound) {
  write(folder_ / "modelscope" / "hub" / "models" / "org" / "name-1___5" / "pytorch_model.bin",
        "weights");
  EXPECT_EQ(find_model("org/name-1.5", options_), "");
  write(folder_ / "modelscope" / "hub" / "models" / "org" / "name-1___5" / "config.json", "{}");
  EXPECT_EQ(find_model("org/name-1.5", options_),
            (folder_ / "modelscope/hub/models/org/name-1___5").string());
  EXPECT_EQ(find_model("org/name-1.5@main", options_), "");
}

TEST_F(HubTest, ModelsAreListedAndRemoved) {
  add(kCommit, "model.gguf", "weights", "w1");
  add(kOther, "model.gguf", "others", "w2");
  fs::create_symlink("../../blobs/w1", fs::path(options_.cache) / "models--org--name/snapshots" /
                                           kOther / "shared.txt");
  add(kOther, "only.txt", "12345", "o1");
  point("main", kCommit);
  point("v2", kOther);
  const auto models = cached_models(options_);
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].name, "org/name");
  EXPECT_EQ(models[0].revision, "main");
  EXPECT_EQ(models[0].bytes, 7u);
  EXPECT_EQ(models[1].revision, "v2");
  // "others" and "12345"; the shared blob stays
  EXPECT_EQ(remove_cached("org/name@v2", options_), 11u);
  EXPECT_NE(find_model("org/name", options_), "");
  EXPECT_EQ(find_model("org/name@v2", options_), "");
  EXPECT_EQ(remove_cached("org/name", options_), 7u + 40u);
  EXPECT_TRUE(cached_models(options_).empty());
  EXPECT_THROW(remove_cached("org/name", options_), Error);
}

std::string message_of(const std::function<void()>& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST_F(HubTest, WhoNeedsAModelIsToldWhatWasLookedForAndWhere) {
  const auto told = [&](const std::string& name, ErrorCode code = ErrorCode::kIo) {
    return message_of([&] { require_model(name, options_); }, code);
  };
  EXPECT_EQ(told("org/name"),
            "org/name is no file or folder here, and org/name is not in the cache at " +
                options_.cache + ", nor in ModelScope's; `blip pull org/name` downloads it");
  EXPECT_NE(told("Salesforce/blip-vqa-bsae").find("; did you mean Salesforce/blip-vqa-base"),
            std::string::npos);
  EXPECT_EQ(told("Salesforce/blip-vqa-base").find("did you mean"), std::string::npos);
  EXPECT_EQ(told("captoin-base"),
            "cannot open captoin-base: No such file or directory; did you mean caption-base?");
  EXPECT_NE(told("official-vqa-base").find("there is no "), std::string::npos);
  EXPECT_EQ(require_model("/no/such/file.gguf", options_), "/no/such/file.gguf");
  write(fs::path(options_.cache) / "models--org--name" / "blobs" / "w1.incomplete", "half");
  EXPECT_NE(told("org/name").find("(a download of it was broken off)"), std::string::npos);
  point("main", kCommit);
  add(kCommit, "model.safetensors", "weights", "w2");
  EXPECT_NE(told("org/name").find("(of its files some are, others are missing)"),
            std::string::npos);
  add(kCommit, "config.json", "{}", "c1");
  EXPECT_EQ(require_model("org/name", options_), find_model("org/name", options_));
}

TEST_F(HubTest, TheVendorsModelsAreInstructions) {
  const std::string told =
      message_of([&] { pull("sophon-demo/BM1684X", options_); }, ErrorCode::kUnsupported);
  EXPECT_NE(
      told.find("for part in cap itm vqa_venc vqa_tenc vqa_tdec; do python3 -m dfss "
                "--url=open@sophgo.com:sophon-demo/BLIP/blip_${part}_bm1684x_f32_1b.bmodel; done"),
      std::string::npos)
      << told;
  EXPECT_NE(told.find("--bmodel-path blip_cap_bm1684x_f32_1b.bmodel"), std::string::npos) << told;
  EXPECT_NE(
      message_of([&] { require_model("sophon-demo/bm1690", options_); }, ErrorCode::kUnsupported)
          .find("sophon-demo/bm1688"),
      std::string::npos);
  EXPECT_THROW(pull("sophon-demo/bm1688@main", options_), Error);
}

TEST_F(HubTest, ASnapshotsNameIsItsModels) {
  EXPECT_EQ(name_of_snapshot(fs::path("/c/models--org--name-x/snapshots") / kCommit), "org/name-x");
  EXPECT_EQ(name_of_snapshot(fs::path("/c/models--org--name/other") / kCommit), "");
  EXPECT_EQ(name_of_snapshot("/c/models--org--name/snapshots/main"), "");
  EXPECT_EQ(name_of_snapshot(fs::path("/c/datasets--org--name/snapshots") / kCommit), "");
}

TEST_F(HubTest, WhatModelsShareStaysAndIsTold) {
  const fs::path blobs = fs::path(options_.cache) / "models--org--name" / "blobs";
  add(kCommit, "model.gguf", "weights", "w1");
  write(fs::path(options_.cache) / "blobs" / "ab" / "ab01", "weights");
  fs::remove(blobs / "w1");
  fs::create_symlink("../../blobs/ab/ab01", blobs / "w1");
  point("main", kCommit);
  std::vector<std::string> warnings;
  options_.warning = [&](const std::string& text) { warnings.push_back(text); };
  ASSERT_EQ(cached_models(options_).size(), 1u);
  EXPECT_EQ(remove_cached("org/name", options_), 40u);  // the ref's bytes
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].find("7 bytes of org/name stay in "), 0u) << warnings[0];
  EXPECT_TRUE(fs::exists(fs::path(options_.cache) / "blobs" / "ab" / "ab01"));
}

TEST_F(HubTest, TheHomeFolderStandsForATilde) {
  const char* home = getenv("HOME");
  const std::string before = home == nullptr ? "" : home;
  setenv("HOME", folder_.c_str(), 1);
  setenv("BLIP_TEST_FOLDER", "~/x", 1);
  EXPECT_EQ(folder_in_environment("BLIP_TEST_FOLDER"), folder_ / "x");
  setenv("HOME", before.c_str(), 1);
}

using Files = std::vector<std::string>;

TEST(WantedFiles, OneFormOfTheWeights) {
  EXPECT_EQ(wanted_files({"README.md", "config.json", "model.safetensors", "pytorch_model.bin",
                          "tf_model.h5", "vocab.txt"}),
            (Files{"config.json", "vocab.txt", "model.safetensors"}));
  EXPECT_EQ(
      wanted_files({"pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin",
                    "training_args.bin", "config.json"}),
      (Files{"config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"}));
  EXPECT_EQ(wanted_files({"blip.gguf", "README.md"}), (Files{"blip.gguf"}));
  EXPECT_EQ(wanted_files({"adapter_config.json", "adapter_model.safetensors"}),
            (Files{"adapter_config.json", "adapter_model.safetensors"}));
  EXPECT_EQ(
      wanted_files({"adapter_config.json", "adapter_model.bin", "adapter_model.safetensors",
                    "config.json", "my.safetensors"}),
      (Files{"config.json", "adapter_config.json", "my.safetensors", "adapter_model.safetensors"}));
  EXPECT_EQ(wanted_files({"adapter_config.json", "adapter_model.bin", "model.safetensors"}),
            (Files{"adapter_config.json", "model.safetensors", "adapter_model.bin"}));
  EXPECT_EQ(wanted_files({"adapter_model.safetensors"}), Files{});
  EXPECT_EQ(wanted_files({"README.md", "a.gguf", "b.gguf"}), Files{});
}

}  // namespace
}  // namespace blip::hub
