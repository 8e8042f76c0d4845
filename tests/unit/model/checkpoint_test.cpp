// Every layout of tests/data/model is read as tests/reference/model.py says.
#include "model/checkpoint.h"

#include <cmath>
#include <numeric>
#include <thread>

#include "model/position.h"
#include "model_fixture.h"

namespace blip::model {
namespace {

const Json& expected() {
  static const Json json = load_json(data_path("expected.json"));
  return json;
}

void check_tensors(const Checkpoint& checkpoint, const Json& tensors) {
  EXPECT_EQ(checkpoint.names().size(), tensors.size());
  for (const auto& [name, facts] : tensors.items()) {
    ASSERT_TRUE(checkpoint.has(name)) << name;
    const std::vector<float> values = checkpoint.values(name);
    const auto shape = facts["shape"].get<std::vector<std::int64_t>>();
    ASSERT_EQ(static_cast<std::int64_t>(values.size()),
              std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
    // Only position tables of another image size are computed; everything else is read exactly.
    const bool interpolated = name == "vision.position" && checkpoint.tensor(name).shape != shape;
    const double tolerance = interpolated ? 1e-5 : 1e-9;
    EXPECT_NEAR(std::accumulate(values.begin(), values.end(), 0.0), facts["sum"].get<double>(),
                tolerance)
        << name;
    for (std::size_t i = 0; i < facts["first"].size(); ++i)
      EXPECT_NEAR(values[i], facts["first"][i].get<double>(), tolerance) << name;
    if (!interpolated) {
      EXPECT_EQ(checkpoint.tensor(name).shape, shape) << name;
    }
  }
}

void check_info(const Checkpoint& checkpoint, const Json& model) {
  const Json& want = model["info"];
  const ModelInfo& info = checkpoint.info();
  EXPECT_EQ(info.format, model["format"]);
  EXPECT_EQ(info.name, want["name"]);
  EXPECT_EQ(info.image_size, want["image_size"]);
  EXPECT_EQ(info.patch_size, 8);
  EXPECT_EQ(info.vocab_size, 130);
  EXPECT_EQ(info.embed_dim, want.value("embed_dim", 0));
  EXPECT_EQ(info.can_caption, want.value("can_caption", false));
  EXPECT_EQ(info.can_match_itm, want.value("can_match_itm", false));
  EXPECT_EQ(info.can_match_itc, want.value("can_match_itc", false));
  EXPECT_EQ(info.can_ask, want.value("can_ask", false));
  EXPECT_EQ(info.can_rank, want.value("can_rank", false));
  std::vector<std::string> parts;
  std::size_t parameters = 0;
  for (const PartInfo& part : info.parts) {
    parts.push_back(part.name);
    parameters += part.parameters;
    EXPECT_EQ(part.type, model["type"]) << part.name;
  }
  EXPECT_EQ(parts, want["parts"].get<std::vector<std::string>>());
  EXPECT_EQ(info.parameters, parameters);
  std::size_t elements = 0;
  for (const std::string& name : checkpoint.names()) elements += checkpoint.tensor(name).count();
  EXPECT_EQ(info.parameters, elements);
}

class Layouts : public testing::TestWithParam<const char*> {};

TEST_P(Layouts, TensorsInfoAndVocabulary) {
  const Json& model = expected()["models"][GetParam()];
  const Checkpoint checkpoint = Checkpoint::open(data_path(GetParam()));
  check_tensors(checkpoint, model["tensors"]);
  check_info(checkpoint, model);
  const ModelConfig& config = checkpoint.config();
  EXPECT_EQ(config.vision.eps, model["info"]["vision_eps"].get<float>());
  // their position tables have 24 rows
  const bool encoders = config.text_encoder || config.question_encoder;
  EXPECT_EQ(config.max_text, model["info"].value("max_text", encoders ? 24 : 35));
  EXPECT_EQ(config.prompt, model["info"].value("prompt", "a picture of "));
  for (const auto* tower : {&config.text_encoder, &config.caption_decoder, &config.question_encoder,
                            &config.answer_decoder}) {
    if (!*tower) continue;
    EXPECT_EQ((*tower)->heads, model["info"]["text_heads"]);
    EXPECT_EQ((*tower)->mlp, 56);
    EXPECT_EQ((*tower)->max_positions, 24);
    EXPECT_EQ((*tower)->eps, 1e-12f);
  }
  const std::vector<std::string>& tokens = checkpoint.vocabulary().tokens;
  // an official checkpoint has a token for every row
  const std::size_t words = GetParam() == std::string("pretrained") ? 128 : 125;
  ASSERT_EQ(tokens.size(), words + 2);
  EXPECT_EQ(tokens[9], "dog");
  EXPECT_EQ(tokens[words], "[DEC]");
  EXPECT_EQ(tokens[words + 1], "[ENC]");
  EXPECT_EQ(checkpoint.info().bos_token, static_cast<int>(words));
  EXPECT_EQ(checkpoint.info().eos_token, 3);
  EXPECT_EQ(checkpoint.info().pad_token, 0);
  EXPECT_EQ(checkpoint.info().question_token, static_cast<int>(words) + 1);
  EXPECT_EQ(checkpoint.info().prompt, config.prompt);
  EXPECT_EQ(checkpoint.info().max_text_length, encoders ? 24 : 0);
  EXPECT_EQ(checkpoint.info().text_length, encoders ? config.max_text : 0);
  EXPECT_EQ(checkpoint.info().max_length, config.caption_decoder || config.answer_decoder ? 24 : 0);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Layouts,
                         testing::Values("caption", "retrieval", "vqa", "pretrained", "combined"),
                         [](const auto& param_info) { return std::string(param_info.param); });

TEST(Checkpoint, OpensTheFileOfAFolder) {
  EXPECT_EQ(Checkpoint::open(data_path("caption/model.safetensors")).info().name, "caption");
  EXPECT_EQ(Checkpoint::open(data_path("retrieval/model.safetensors.index.json")).info().format,
            "safetensors");
  EXPECT_EQ(Checkpoint::open(data_path("vqa/pytorch_model.bin.index.json")).info().format, "torch");
  EXPECT_EQ(Checkpoint::open(data_path("pretrained/model.pth")).info().name, "pretrained");
  EXPECT_EQ(Checkpoint::open(data_path("caption/")).info().name, "caption");
}

TEST(Checkpoint, CrossAttentionReadsTheRightWidth) {
  const ModelConfig caption = Checkpoint::open(data_path("caption")).config();
  EXPECT_EQ(caption.vision.width, 48);
  EXPECT_EQ(caption.caption_decoder->width, 32);
  EXPECT_EQ(caption.caption_decoder->vision_width, 48);
  EXPECT_EQ(caption.vision.layers, 2);
  EXPECT_EQ(caption.vision.tokens(), 26);
}

TEST(Checkpoint, SavedTwiceTiedWeightsAreReadOnce) {
  EXPECT_FALSE(Checkpoint::open(data_path("vqa")).has("answer.head.weight"));
  const Checkpoint combined = Checkpoint::open(data_path("combined"));
  EXPECT_TRUE(combined.has("caption.head.weight"));  // differs from the word embeddings there
  EXPECT_FALSE(combined.has("answer.head.weight"));
}

TEST(Checkpoint, TiedWeightsSavedUnderTheOtherNameOnly) {
  Draft draft("caption");
  draft.tensors["text_decoder.cls.predictions.decoder.weight"] =
      draft.tensors.at("text_decoder.bert.embeddings.word_embeddings.weight");
  draft.tensors.erase("text_decoder.bert.embeddings.word_embeddings.weight");
  draft.tensors["text_decoder.cls.predictions.decoder.bias"] =
      draft.tensors.at("text_decoder.cls.predictions.bias");
  draft.tensors.erase("text_decoder.cls.predictions.bias");
  const Checkpoint checkpoint = draft.open();
  const Checkpoint usual = Checkpoint::open(data_path("caption"));
  EXPECT_FALSE(checkpoint.has("caption.head.weight"));
  EXPECT_EQ(checkpoint.values("caption.word"), usual.values("caption.word"));
  EXPECT_EQ(checkpoint.values("caption.head.bias"), usual.values("caption.head.bias"));
}

TEST(Checkpoint, UnusedTensorsOfPublishedCheckpointsAreIgnored) {
  Draft draft("caption");
  const std::size_t tensors = draft.open().names().size();
  for (const char* name :
       {"text_decoder.bert.embeddings.position_ids", "text_encoder_m.embeddings.LayerNorm.bias",
        "vision_proj_m.weight", "image_queue", "text_queue", "idx_queue", "queue_ptr", "ptr_queue",
        "temp", "logit_scale", "text_decoder.bert.pooler.dense.weight"}) {
    draft.tensors[name] = zeros({2});
  }
  EXPECT_EQ(draft.open().names().size(), tensors);
}

TEST(Checkpoint, SmallerPreprocessorSizeThanTheTable) {
  Draft draft("caption");
  draft.folder.write("preprocessor_config.json",
                     R"({"size": 24, "image_mean": [0.5, 0.25, 0], "do_normalize": true})");
  const Checkpoint checkpoint = draft.open();
  EXPECT_EQ(checkpoint.config().vision.image_size, 24);
  EXPECT_EQ(checkpoint.values("vision.position").size(), 10u * 48);
  EXPECT_EQ(checkpoint.config().normalization.mean, (std::array<float, 3>{0.5f, 0.25f, 0.f}));
}

// Every name of the draft behind `prefix`.
RawTensors with_prefix(const RawTensors& tensors, const std::string& prefix) {
  RawTensors result;
  for (const auto& [name, tensor] : tensors) result[prefix + name] = tensor;
  return result;
}

TEST(Checkpoint, AnyCommonPrefixIsTakenOff) {
  const Checkpoint plain = Checkpoint::open(data_path("caption"));
  for (const char* prefix : {"_orig_mod.", "module.", "base_model.model.", "net.", "model.",
                             "module._orig_mod.", "state_dict.model.module.", "student."}) {
    SCOPED_TRACE(prefix);
    Draft draft("caption");
    draft.tensors = with_prefix(draft.tensors, prefix);
    draft.tensors["epoch"] = zeros({1});
    if (std::string(prefix) == "module._orig_mod." || std::string(prefix) == "module." ||
        std::string(prefix) == "_orig_mod.")
      draft.tensors.erase("epoch");
    const Checkpoint checkpoint = draft.open();
    EXPECT_EQ(checkpoint.names(), plain.names());
    EXPECT_EQ(checkpoint.values("caption.word"), plain.values("caption.word"));
  }
}

TEST(Checkpoint, WrappersInsideTheModelAreTakenOff) {
  Draft draft("caption");
  RawTensors tensors;
  for (const auto& [name, tensor] : draft.tensors) {
    const std::string tower = "vision_model.encoder.";
    tensors[name.starts_with(tower) ? tower + "_orig_mod." + name.substr(tower.size()) : name] =
        tensor;
  }
  draft.tensors = tensors;
  EXPECT_EQ(draft.open().names(), Checkpoint::open(data_path("caption")).names());
}

TEST(Checkpoint, SeveralPrefixesAreAnError) {
  Draft draft("caption");
  RawTensors both = with_prefix(draft.tensors, "model.");
  both.merge(with_prefix(draft.tensors, "ema_model."));
  draft.tensors = both;
  expect_contains(error_of(ErrorCode::kModel, [&] { draft.open(); }),
                  "holds several models (ema_model.*, model.*); save the one you want alone");
}

TEST(Checkpoint, APartOutsideThePrefixIsAnError) {
  Draft draft("caption");
  RawTensors tensors;
  for (const auto& [name, tensor] : draft.tensors)
    tensors[name.starts_with("vision_model.") ? "net." + name : name] = tensor;
  draft.tensors = tensors;
  expect_contains(error_of(ErrorCode::kModel, [&] { draft.open(); }), "lies outside net.*");
}

TEST(Checkpoint, AnyNameOfTheOnlyCandidateIsFound) {
  const TemporaryFolder folder;
  for (const char* name : {"last.ckpt", "weights.pt", "x.bin", "model_base_caption.pth"}) {
    fs::copy_file(data_path("pretrained/model.pth"), folder.file(name));
    folder.write("training_args.bin", "no model");
    folder.write("optimizer.pt", "no model");
    if (fs::exists(data_path("pretrained/vocab.txt")))
      fs::copy_file(data_path("pretrained/vocab.txt"), folder.file("vocab.txt"),
                    fs::copy_options::overwrite_existing);
    EXPECT_EQ(Checkpoint::open(folder.path()).info().format, "torch") << name;
    fs::remove(folder.file(name));
  }
  folder.write("a.ckpt", "");
  folder.write("b.safetensors", "");
  expect_contains(error_of(ErrorCode::kModel, [&] { Checkpoint::open(folder.path()); }),
                  "holds 2 files that may be the model (a.ckpt, b.safetensors)");
}

TEST(Checkpoint, AHubCacheFolderStandsForItsSnapshot) {
  const TemporaryFolder root;
  const fs::path repository = fs::path(root.path()) / "models--org--name";
  const auto add = [&](const std::string& commit) {
    fs::create_directories(repository / "snapshots" / commit);
    fs::create_directories(repository / "blobs");
    for (const auto& entry : fs::directory_iterator(data_path("caption"))) {
      const std::string file = entry.path().filename().string(), blob = commit + file;
      fs::copy_file(entry.path(), repository / "blobs" / blob);
      fs::create_symlink("../../blobs/" + blob, repository / "snapshots" / commit / file);
    }
  };
  add("0123abcd");
  // the only one
  EXPECT_EQ(Checkpoint::open(repository.string()).info().name,
            Checkpoint::open(repository.string() + "/").info().name);
  add("4567cdef");
  const std::string several =
      error_of(ErrorCode::kModel, [&] { Checkpoint::open(repository.string()); });
  expect_contains(several, "2 snapshots (0123abcd, 4567cdef), and refs/main names none of them");
  fs::create_directories(repository / "refs");
  std::ofstream(repository / "refs" / "main") << "4567cdef\n";
  EXPECT_EQ(Checkpoint::open(repository.string()).names(),
            Checkpoint::open(data_path("caption")).names());
  std::ofstream(repository / "refs" / "main") << "../../etc";
  expect_contains(error_of(ErrorCode::kModel, [&] { Checkpoint::open(repository.string()); }),
                  "refs/main names none of them");
}

TEST(Checkpoint, AFileThatShrinksAfterOpeningIsNoticed) {
  Draft draft("caption");
  const Checkpoint checkpoint = draft.open();
  EXPECT_NO_THROW(checkpoint.check_unchanged());
  fs::resize_file(draft.folder.file("model.safetensors"), 4096);
  // zeros, and no signal
  for (const std::string& name : checkpoint.names()) checkpoint.values(name);
  const std::string what = error_of(ErrorCode::kIo, [&] { checkpoint.check_unchanged(); });
  expect_contains(what, "model.safetensors: the file changed while it was read");
}

TEST(Checkpoint, ManyThreadsMayRead) {
  const Checkpoint checkpoint = Checkpoint::open(data_path("caption"));
  const std::vector<float> want = checkpoint.values("vision.position");
  std::vector<std::thread> threads;
  std::vector<int> good(4);
  for (std::size_t i = 0; i < good.size(); ++i) {
    threads.emplace_back(
        [&, i] { good[i] = checkpoint.values("vision.position") == want ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, std::vector<int>(4, 1));
}

TEST(Positions, AsTorchInterpolates) {
  for (const Json& item : expected()["positions"]) {
    const auto table = item["table"].get<std::vector<float>>(),
               want = item["result"].get<std::vector<float>>();
    const std::vector<float> got =
        interpolate_positions(table, item["from"], item["to"], item["width"]);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 1e-6) << item["from"] << " -> " << item["to"];
  }
}

}  // namespace
}  // namespace blip::model
