// Damaged, incomplete and unknown checkpoints: the error names the tensor or key, what was expected
// and what was found.
#include "model_fixture.h"

namespace blip::model {
namespace {

constexpr const char* kQuery = "text_decoder.bert.encoder.layer.1.attention.self.query.weight";
constexpr const char* kWord = "text_decoder.bert.embeddings.word_embeddings.weight";

std::string open_error(const Draft& draft) {
  return error_of(ErrorCode::kModel, [&] { draft.open(); });
}

TEST(Errors, MissingTensor) {
  Draft draft("caption");
  draft.tensors.erase(kQuery);
  const std::string what = open_error(draft);
  expect_contains(what, "model.safetensors: tensor " + std::string(kQuery) + " is missing");
  expect_contains(what, "expected shape [32, 32]");
}

TEST(Errors, SeveralMissingTensorsAreCounted) {
  Draft draft("caption");
  std::erase_if(draft.tensors, [](const auto& item) {
    return item.first.find("encoder.layer.1.") != std::string::npos;
  });
  const std::string what = open_error(draft);  // config.json says two layers
  expect_contains(what, "text_decoder.bert.encoder.layer.1.attention.self.query.weight is missing");
  expect_contains(what, "(and 25 more)");
}

TEST(Errors, AWholeTowerIsMissing) {
  Draft draft("caption");
  std::erase_if(draft.tensors,
                [](const auto& item) { return item.first.starts_with("text_decoder."); });
  expect_contains(open_error(draft),
                  "text_decoder.bert.embeddings.word_embeddings.weight is missing");
}

TEST(Errors, MissingHeadBias) {
  Draft draft("caption");
  draft.tensors.erase("text_decoder.cls.predictions.bias");
  expect_contains(open_error(draft),
                  "text_decoder.cls.predictions.bias is missing; expected shape [130]");
}

// Whatever single tensor is mis-shaped, the error names that one, even where sizes are read off it.
TEST(Errors, EveryMisshapenTensorIsNamed) {
  const Draft original("caption");
  for (const auto& [name, tensor] : original.tensors) {
    if (name == "vision_model.embeddings.position_embedding" ||
        name.find("embeddings.position_embeddings") != std::string::npos)
      continue;
    for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      if (tensor.shape[axis] == 1) continue;
      Draft draft("caption");
      auto shape = tensor.shape;
      ++shape[axis];
      draft.tensors[name] = zeros(shape);
      const std::string what = open_error(draft);
      expect_contains(what, "tensor " + name + ": expected shape [");
      expect_contains(what, ", got [");
    }
  }
}

TEST(Errors, ExpectedAndGotShape) {
  Draft draft("caption");
  draft.tensors[kWord] = zeros({130, 31});
  expect_contains(open_error(draft),
                  std::string(kWord) + ": expected shape [130, 32], got [130, 31]");
}

TEST(Errors, PositionTableThatIsNoSquare) {
  Draft draft("caption");
  draft.tensors["vision_model.embeddings.position_embedding"] = zeros({1, 15, 48});
  expect_contains(open_error(draft),
                  "vision_model.embeddings.position_embedding: expected shape [n x n + 1, 48], got "
                  "[1, 15, 48]");
}

TEST(Errors, TensorOfIntegers) {
  Draft draft("caption");
  draft.tensors["vision_model.post_layernorm.bias"] = {"I16", {48}, std::string(96, '\0')};
  expect_contains(open_error(draft),
                  "vision_model.post_layernorm.bias: expected floating-point values, got i16");
}

TEST(Errors, UnexpectedTensorsAreNotDropped) {
  Draft draft("caption");
  for (const char* name : {"adapter.a", "adapter.b", "adapter.c", "adapter.d"})
    draft.tensors[name] = zeros({3});
  const std::string what = open_error(draft);
  expect_contains(what, "4 unexpected tensors: adapter.a [3], adapter.b [3], adapter.c [3], ...");
}

TEST(Errors, MoreLayersThanTheConfigurationSays) {
  Draft draft("caption");
  draft.tensors["text_decoder.bert.encoder.layer.3.output.dense.bias"] = zeros({32});
  expect_contains(open_error(draft),
                  "config.json: text_config.num_hidden_layers is 2, but 4 by the tensors "
                  "text_decoder.bert.encoder.layer.0 to 3");
  draft.tensors["text_decoder.bert.encoder.layer.99999999999.output.dense.bias"] = zeros({32});
  expect_contains(open_error(draft), "more than 1000 layers");
}

TEST(Errors, RetrievalWithoutItsHeads) {
  Draft draft("combined");
  draft.config["architectures"] = {"BlipForImageTextRetrieval"};
  draft.tensors.erase("itm_head.weight");
  draft.tensors.erase("itm_head.bias");
  expect_contains(open_error(draft),
                  "itm_head.weight is missing; expected shape [2, 32] (and 1 more)");
}

TEST(Errors, MissingConfig) {
  const Draft draft("caption");
  draft.folder.write("model.safetensors", safetensors_bytes(draft.tensors));
  const std::string what =
      error_of(ErrorCode::kModel, [&] { Checkpoint::open(draft.folder.path()); });
  expect_contains(what, "config.json is missing");
}

TEST(Errors, NotABlip) {
  Draft draft("caption");
  draft.tensors = {{"encoder.weight", zeros({3, 4})}};
  expect_contains(open_error(draft),
                  "not a BLIP checkpoint: found for example encoder.weight; expected tensors named "
                  "vision_model.*");
  draft.tensors = {};
  expect_contains(open_error(draft), "found no tensors");
  draft.tensors = {{"vision_model.post_layernorm.bias", zeros({48})},
                   {"text_model.embeddings.LayerNorm.bias", zeros({32})}};
  expect_contains(open_error(draft), "BlipModel");
}

TEST(Errors, FolderWithoutAModelSaysWhatWasLookedFor) {
  const TemporaryFolder folder;
  const std::string what = error_of(ErrorCode::kModel, [&] { Checkpoint::open(folder.path()); });
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json", "*.gguf", "*.pth"}) {
    expect_contains(what, name);
  }
}

TEST(Errors, FolderWithSeveralModels) {
  const TemporaryFolder folder;
  folder.write("a.gguf", "");
  folder.write("b.gguf", "");
  expect_contains(error_of(ErrorCode::kModel, [&] { Checkpoint::open(folder.path()); }),
                  "holds 2 files that may be the model (a.gguf, b.gguf); name the file to load");
}

TEST(Errors, PathsAndFilesOfNoKind) {
  const TemporaryFolder folder;
  folder.write("notes.md", "hello, this is text");
  folder.write("empty.bin2", "");
  expect_contains(error_of(ErrorCode::kIo, [&] { Checkpoint::open(folder.file("none.gguf")); }),
                  "none.gguf: No such file");
  expect_contains(error_of(ErrorCode::kIo, [] { Checkpoint::open("/dev/null"); }),
                  "neither a file nor a folder");
  expect_contains(error_of(ErrorCode::kModel, [&] { Checkpoint::open(folder.file("notes.md")); }),
                  "neither safetensors, GGUF nor a torch archive");
  expect_contains(error_of(ErrorCode::kModel, [&] { Checkpoint::open(folder.file("empty.bin2")); }),
                  "neither safetensors");
}

TEST(Errors, ShardIndex) {
  const TemporaryFolder folder;
  const std::string index = "pytorch_model.bin.index.json";
  const auto what = [&](const char* json, ErrorCode code) {
    folder.write(index, json);
    return error_of(code, [&] { Checkpoint::open(folder.path()); });
  };
  expect_contains(what(R"({"weight_map": {"a": "gone.bin"}})", ErrorCode::kIo), "gone.bin");
  expect_contains(what(R"({"weight_map": {"a": "../x.bin"}})", ErrorCode::kModel),
                  "shards must lie beside the index");
  expect_contains(what(R"({"weight_map": {"a": 3}})", ErrorCode::kModel),
                  "its shard is not a file name");
  expect_contains(what(R"({"weight_map": {}})", ErrorCode::kModel), "names no shards");
  expect_contains(what("[1, 2]", ErrorCode::kModel), "not a shard index");
  expect_contains(what("[1, 2", ErrorCode::kModel), "not valid JSON");
}

TEST(Errors, VocabularyLargerThanTheEmbeddings) {
  Draft draft("caption");
  for (int i = 0; i < 10; ++i) draft.vocabulary += "extra" + std::to_string(i) + "\n";
  const std::string what = open_error(draft);
  expect_contains(
      what,
      "vocab.txt has 135 tokens, but the word embeddings of the caption_decoder have 130 rows");
}

TEST(Errors, VocabularyShorterThanTheEmbeddings) {
  for (const std::size_t lost : {1u, 2u, 50u}) {
    Draft draft("caption");
    for (std::size_t i = 0; i < lost; ++i)
      draft.vocabulary.erase(draft.vocabulary.rfind('\n', draft.vocabulary.size() - 2) + 1);
    expect_contains(open_error(draft),
                    "vocab.txt has " + std::to_string(125 - lost) +
                        " tokens, but the word embeddings of the caption_decoder have 130 rows");
  }
  for (const char* nothing : {"", "\n\n", "\xEF\xBB\xBF"}) {
    Draft draft("caption");
    draft.vocabulary = nothing;
    expect_contains(open_error(draft), "vocab.txt is empty");
  }
}

TEST(Errors, VocabularyWithoutSpecialTokens) {
  Draft draft("caption");
  draft.vocabulary.replace(draft.vocabulary.find("[SEP]"), 5, "[sep]");
  expect_contains(open_error(draft),
                  "vocab.txt: vocabulary: [SEP] is missing among its 127 tokens");
}

// The official layout has no configuration: every row must have a token.
TEST(Errors, OfficialVocabularyShorterThanTheEmbeddings) {
  const TemporaryFolder folder;
  fs::copy(data_path("pretrained/model.pth"), folder.file("model.pth"));
  const std::string whole = read_text(data_path("pretrained/vocab.txt"));
  folder.write("vocab.txt", whole.substr(0, whole.rfind('\n', whole.size() - 2) + 1));
  expect_contains(error_of(ErrorCode::kModel, [&] { Checkpoint::open(folder.file("model.pth")); }),
                  "vocab.txt has 127 tokens and 2 are added, but the word embeddings of the "
                  "text_encoder have 130 rows");
}

TEST(Errors, ConfigurationThatContradictsTheTensors) {
  const auto what = [](const char* part, const char* key, int value) {
    Draft draft("caption");
    draft.config[part][key] = value;
    return open_error(draft);
  };
  expect_contains(what("text_config", "hidden_size", 48),
                  "config.json: text_config.hidden_size is 48, but 32 by tensor "
                  "text_decoder.bert.embeddings.word_embeddings.weight [130, 32] of ");
  expect_contains(what("text_config", "vocab_size", 128),
                  "text_config.vocab_size is 128, but 130 by tensor "
                  "text_decoder.bert.embeddings.word_embeddings.weight");
  expect_contains(what("text_config", "intermediate_size", 64),
                  "text_config.intermediate_size is 64, but 56 by tensor text_decoder");
  expect_contains(what("text_config", "max_position_embeddings", 20),
                  "text_config.max_position_embeddings is 20, but 24 by tensor "
                  "text_decoder.bert.embeddings.position_embeddings.weight [24, 32]");
  expect_contains(what("text_config", "num_hidden_layers", 1),
                  "text_config.num_hidden_layers is 1, but 2 by the tensors");
  expect_contains(what("text_config", "num_hidden_layers", 3),
                  "text_decoder.bert.encoder.layer.2.attention.self.query.weight is missing");
  expect_contains(what("text_config", "num_attention_heads", 5),
                  "its 5 attention heads do not divide");
  expect_contains(what("vision_config", "hidden_size", 32),
                  "vision_config.hidden_size is 32, but 48 by tensor "
                  "vision_model.embeddings.patch_embedding.weight");
  expect_contains(what("vision_config", "patch_size", 16),
                  "vision_config.patch_size is 16, but 8 by tensor "
                  "vision_model.embeddings.patch_embedding.weight [48, 3, 8, 8]");
  expect_contains(what("vision_config", "intermediate_size", 44),
                  "vision_config.intermediate_size is 44, but 40 by tensor "
                  "vision_model.encoder.layers.0.mlp.fc1.weight");
  expect_contains(what("vision_config", "num_hidden_layers", 1),
                  "vision_config.num_hidden_layers is 1, but 2 by the tensors "
                  "vision_model.encoder.layers.0 to 1");
  Draft retrieval("combined");
  retrieval.config["image_text_hidden_size"] = 24;
  expect_contains(
      open_error(retrieval),
      "config.json: image_text_hidden_size is 24, but 20 by tensor vision_proj.weight [20, 32]");
}

// Without a vocabulary of its own a model gets bert-base-uncased, which this small one cannot hold.
TEST(Errors, BundledVocabularyDoesNotFit) {
  const Draft draft("caption");
  draft.folder.write("model.safetensors", safetensors_bytes(draft.tensors));
  draft.folder.write("config.json", draft.config.dump());
  const std::string what =
      error_of(ErrorCode::kModel, [&] { Checkpoint::open(draft.folder.path()); });
  expect_contains(what,
                  "bundled bert-base-uncased vocabulary has 30522 tokens, but the word embeddings "
                  "of the caption_decoder have 130 rows");
}

TEST(Errors, ConfigurationThatContradictsItself) {
  const auto what = [](const char* key, int value) {
    Draft draft("caption");
    draft.config["vision_config"][key] = value;
    return open_error(draft);
  };
  expect_contains(
      what("num_attention_heads", 7),
      "config.json: the vision tower is 48 wide, which its 7 attention heads do not divide");
  expect_contains(what("image_size", 7), "image size 7 is smaller than the patch size 8");
  expect_contains(what("image_size", 16384), "makes more than 256 x 256 patches");
}

}  // namespace
}  // namespace blip::model
