// BLIP-NLVR's checkpoints (tests/data/nlvr, by tests/reference/nlvr.py): what they are read as, and
// what is said of those that are incomplete.
#include <cmath>

#include "model_fixture.h"

namespace blip::model {
namespace {

const std::string kFolder = std::string(BLIP_TEST_DATA) + "/nlvr";
const std::string kCross = "text_encoder.encoder.layer.7.crossattention.";

// The committed checkpoint's tensors under the official names, to be altered and opened.
struct NlvrDraft {
  NlvrDraft() {
    const auto file = io::open_torch(kFolder + "/model.pth");
    for (const io::TensorView& view : file->tensors()) {
      const std::string bytes(reinterpret_cast<const char*>(view.data.data()), view.data.size());
      if (view.type == io::ElementType::f16) tensors[view.name] = {"F16", view.shape, bytes};
    }
  }

  Checkpoint open() const {
    folder.write("model.safetensors", safetensors_bytes(tensors));
    folder.write("vocab.txt", read_text(kFolder + "/vocab.txt"));
    return Checkpoint::open(folder.file("model.safetensors"));
  }
  std::string error() const {
    return error_of(ErrorCode::kModel, [&] { open(); });
  }

  RawTensors tensors;
  TemporaryFolder folder;
};

TEST(Nlvr, IsReadWhole) {
  const Checkpoint checkpoint = Checkpoint::open(kFolder + "/model.pth");
  const ModelInfo& info = checkpoint.info();
  EXPECT_TRUE(info.can_nlvr);
  EXPECT_FALSE(info.can_caption || info.can_match_itm || info.can_match_itc || info.can_ask);
  EXPECT_EQ(info.format, "torch");
  EXPECT_EQ(info.image_size, 48);
  // statements are read whole
  EXPECT_EQ(info.text_length, 64);
  EXPECT_EQ(info.max_text_length, 64);
  ASSERT_EQ(info.parts.size(), 2u);
  EXPECT_EQ(info.parts[1].name, "nlvr_encoder");
  EXPECT_EQ(info.parts[1].layers, 8);
  EXPECT_EQ(info.parts[1].type, "f16");
  EXPECT_TRUE(info.warnings.empty());
  // Every tensor of the file has a name of ours, and every value counts.
  const NlvrDraft draft;
  EXPECT_EQ(checkpoint.names().size(), draft.tensors.size());
  std::size_t values = 0;
  for (const auto& [name, tensor] : draft.tensors) values += tensor.bytes.size() / 2;
  EXPECT_EQ(info.parameters, values);
  EXPECT_FALSE(checkpoint.has("nlvr.5.merge.weight"));
  EXPECT_EQ(checkpoint.tensor("nlvr.6.merge.weight").shape, (std::vector<std::int64_t>{16, 32}));
  EXPECT_EQ(checkpoint.tensor("nlvr.0.cross1.k.weight").shape, (std::vector<std::int64_t>{16, 24}));
}

TEST(Nlvr, ASingleTensorThatIsMissingIsNamed) {
  const NlvrDraft whole;
  EXPECT_EQ(whole.open().names().size(), whole.tensors.size());
  for (const std::string& name :
       {kCross + "self0.query.weight", kCross + "self1.value.bias", kCross + "output.dense1.weight",
        kCross + "output.merge_layer.weight", kCross + "output.LayerNorm.bias",
        std::string("cls_head.0.bias"), std::string("cls_head.2.weight")}) {
    NlvrDraft draft;
    ASSERT_EQ(draft.tensors.erase(name), 1u) << name;
    expect_contains(draft.error(), "tensor " + name + " is missing; expected shape [");
  }
  NlvrDraft headless;
  std::erase_if(headless.tensors, [](const auto& item) { return item.first.starts_with("cls_"); });
  expect_contains(headless.error(),
                  "tensor cls_head.0.weight is missing; expected shape [16, 16] "
                  "(and 3 more)");
}

TEST(Nlvr, NothingIsLeftOverOrTakenForSomethingElse) {
  NlvrDraft draft;
  draft.tensors["text_encoder.encoder.layer.5.crossattention.output.merge_layer.weight"] =
      zeros({16, 32});
  expect_contains(draft.error(),
                  "1 unexpected tensor: "
                  "text_encoder.encoder.layer.5.crossattention.output.merge_layer.weight [16, 32]");
  NlvrDraft single;
  single.tensors[kCross + "self.query.weight"] = zeros({16, 16});
  expect_contains(single.error(), "unexpected tensor: " + kCross + "self.query.weight [16, 16]");
  NlvrDraft shaped;
  shaped.tensors[kCross + "output.merge_layer.weight"] = zeros({16, 16});
  expect_contains(shaped.error(), kCross +
                                      "output.merge_layer.weight: expected shape [16, 32], got "
                                      "[16, 16]");
  // A head over one picture is another model's.
  NlvrDraft one;
  for (auto it = one.tensors.begin(); it != one.tensors.end();) {
    auto node = one.tensors.extract(it++);
    if (node.key().find("merge_layer") != std::string::npos ||
        node.key().find("self1") != std::string::npos ||
        node.key().find("dense1") != std::string::npos)
      continue;
    for (const std::string part : {"self", "dense"})
      if (const auto at = node.key().find(part + "0."); at != std::string::npos)
        node.key().erase(at + part.size(), 1);
    one.tensors.insert(std::move(node));
  }
  expect_contains(one.error(), "4 unexpected tensors: cls_head.0.bias [16]");
}

}  // namespace
}  // namespace blip::model
