// Manifests of compiled folders: what is accepted, and a clear message for everything that is not.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/sophon/manifest.h"
#include "backend/sophon/network_set.h"
#include "blip/error.h"
#include "sophon/fake/fake_folder.h"

namespace blip::backend::sophon {
namespace {

using Json = nlohmann::json;

Json good() { return Json::parse(fake::manifest({}, 1000)); }

std::string refusal(const Json& json) {
  try {
    parse_manifest(json.dump(), "m.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel) << error.what();
    return error.what();
  }
  return "accepted";
}

TEST(Manifest, ReadsEveryField) {
  const Manifest m = parse_manifest(good().dump(), "m.json");
  EXPECT_EQ(m.chip, "bm1688");
  EXPECT_EQ(m.dtype, "f32");
  EXPECT_EQ(m.checkpoint, "fake");
  EXPECT_EQ(m.vocabulary_size, fake::kV);
  EXPECT_EQ(m.image_size, fake::kS);
  EXPECT_EQ(m.normalization.std[2], 0.5f);
  EXPECT_EQ(m.cache_rows(), fake::kK);
  EXPECT_EQ(m.head_width(), fake::kh);
  EXPECT_EQ(m.slots, fake::kC);
  EXPECT_EQ(m.prompt_length, fake::kP);
  EXPECT_EQ(m.enc, fake::kEnc);
  EXPECT_TRUE(m.caption && m.itm && m.itc && m.ask);
  EXPECT_EQ(m.networks.size(), 14u);
  EXPECT_TRUE(m.has(Part::kAnswerStep));
}

TEST(Manifest, EveryFieldMustBeThereAndOfItsType) {
  const Json leaves = good().flatten();
  for (const auto& [name, value] : leaves.items()) {
    const Json::json_pointer pointer(name);
    Json changed = good();
    changed[pointer] = Json::array();
    EXPECT_NE(refusal(changed), "accepted") << name;
    // of a list, which is no field of its own
    const bool element = value.is_number_float() || name.starts_with("/tasks/");
    if (value.is_number() && !element) {
      changed[pointer] = -1;
      EXPECT_NE(refusal(changed), "accepted") << name;
    }
    if (element) continue;
    changed[pointer.parent_pointer()].erase(pointer.back());
    const std::string message = refusal(changed);
    EXPECT_TRUE(message.starts_with("m.json: ") && message.ends_with(" is missing"))
        << name << ": " << message;
  }
}

TEST(Manifest, RefusesWithTheReason) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = good();
    json[Json::json_pointer(pointer)] = value;
    return refusal(json);
  };
  const auto has = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(with("/format", "onnx"), "format is \"onnx\"; expected one of blip-bmodels");
  has(with("/version", 2), "version 2 of these folders is newer than this blip, which knows 1");
  has(with("/chip", "bm1690"), "one of bm1684, bm1684x, bm1688");
  has(with("/text/heads", 3), "a divisor of the width, 8");
  has(with("/checkpoint/sha256", std::string(64, 'b')), "this network is of another model");
  has(with("/vocabulary/sha256", "abc"), "64 digits");
  has(with("/vocabulary/file", "../vocab.txt"), "the name of a file in this folder");
  has(with("/networks/0/file", "/etc/passwd"), "the name of a file in this folder");
  has(with("/networks/0/role", "audio"), "networks[0].role is \"audio\"");
  has(with("/networks/0/rows", 2), "1 for a vision network");
  has(with("/networks/0/bytes", -5), "an integer of 0 or more");
  has(with("/networks/1", good()["networks"][0]), "one network of this role with 1 rows");
  has(with("/special/dec", fake::kV), "special.dec");
  has(with("/tasks/0", "sing"), "a list of caption, itm, itc, ask");
  has(with("/tasks", Json::array()), "at least one");
  has(with("/tasks", {"caption"}), "text.embed is 4; expected 0");
  has(with("/networks", Json::array()), "the task \"caption\" needs the network vision");
  has(with("/decoder/prompt", fake::kC + 1), "decoder.prompt");
  EXPECT_THROW(parse_manifest("{", "m.json"), Error);
  EXPECT_THROW(parse_manifest("[1]", "m.json"), Error);
}

Port port(abi::DataType type, std::vector<int> dims) {
  Port p{"x", type, {static_cast<int>(dims.size()), {}}, 4, 4};
  std::copy(dims.begin(), dims.end(), p.shape.dims);
  return p;
}

TEST(Ports, EveryShapeAndTypeIsChecked) {
  const Manifest m = parse_manifest(good().dump(), "m.json");
  using enum abi::DataType;
  const Manifest::Entry entry{Part::kMatch, "match", "f.bmodel", 0, 2};
  const std::vector<Port> in{port(kI32, {2, 6}), port(kF32, {2, 1, 1, 6}),
                             port(kF16, {1, 8, 4, 3})};
  const std::vector<Port> out{port(kF32, {2, 2}), port(kF16, {2, 6, 8})};
  const auto message = [&](std::vector<Port> inputs, std::vector<Port> outputs) -> std::string {
    Common common;
    try {
      check_ports(m, entry, inputs, outputs, common);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(in, out), "");
  for (std::size_t i = 0; i < 5; ++i) {
    auto inputs = in, outputs = out;
    Port& changed = i < 3 ? inputs[i] : outputs[i - 3];
    ++changed.shape.dims[changed.shape.num_dims - 1];
    EXPECT_NE(message(inputs, outputs).find("by the manifest it must be"), std::string::npos) << i;
    --changed.shape.dims[changed.shape.num_dims - 1];
    changed.dtype = kI8;
    EXPECT_NE(message(inputs, outputs), "") << i;
  }
  auto mixed = out;
  mixed[1].dtype = kBf16;
  EXPECT_NE(message(in, mixed), "") << "kept tensors of two types";
  EXPECT_NE(message({in[0], in[1]}, out).find("2 inputs; expected 3"), std::string::npos);
}

// What a part sees is in one layout in all networks that hold it.
TEST(Ports, CrossesInEveryLayout) {
  const Manifest m = parse_manifest(good().dump(), "m.json");
  using enum abi::DataType;
  using namespace fake;
  const Port tokens = port(kF16, {1, kN, kDv}), mask = port(kF32, {1, 1, 1, kT}),
             ids = port(kI32, {1, kT}), states = port(kF16, {1, kT, kD}), one = port(kI32, {1, 1}),
             logits = port(kF32, {1, kV}), cache = port(kF16, {1, kK, kC, kh});
  const auto seen = [](int count) {
    return std::vector{port(kF16, {1, kK, kh, count}), port(kF16, {1, count, kK, kh}),
                       port(kF16, {2 * kL, count, kH, kh})};
  };
  struct Networks {
    Part maker;
    std::vector<Port> in, out;  // out: a cross follows
    Part reader;
    std::vector<Port> before, behind, read_out;  // the reader's inputs around the cross
  };
  const std::vector<Networks> pairs = {
      {Part::kTextCross, {tokens}, {}, Part::kMatch, {ids, mask}, {}, {port(kF32, {1, 2}), states}},
      {Part::kCaptionCross,
       {tokens},
       {},
       Part::kCaptionPrefill,
       {port(kI32, {1, kP}), port(kF32, {1, 1, kP})},
       {},
       {logits, cache}},
      {Part::kCaptionCross,
       {tokens},
       {},
       Part::kCaptionStep,
       {one, one, cache},
       {},
       {logits, cache}},
      {Part::kQuestion,
       {ids, mask, seen(kN)[0]},
       {states},
       Part::kAnswerStep,
       {one, one, cache},
       {mask},
       {logits, cache}}};
  const auto message = [&](const Networks& n, const Port& made, const Port& read) -> std::string {
    const auto joined = [](std::vector<Port> before, const Port& cross,
                           const std::vector<Port>& behind) {
      before.push_back(cross);
      before.insert(before.end(), behind.begin(), behind.end());
      return before;
    };
    Common common;
    try {
      check_ports(m, {n.maker, "maker", "f.bmodel", 0, 1}, n.in, joined(n.out, made, {}), common);
      check_ports(m, {n.reader, "reader", "f.bmodel", 0, 1}, joined(n.before, read, n.behind),
                  n.read_out, common);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const Networks& n : pairs) {
    const auto layouts = seen(n.maker == Part::kQuestion ? kT : kN);
    for (const Port& made : layouts)
      for (const Port& read : layouts)
        if (&made == &read)
          EXPECT_EQ(message(n, made, read), "") << to_string(n.reader);
        else
          EXPECT_NE(message(n, made, read)
                        .find("network reader: input " + std::to_string(n.before.size()) + " is " +
                              read.text() + "; by the manifest it must be the kept type " +
                              made.text().substr(made.text().find('['))),
                    std::string::npos)
              << message(n, made, read);
    Port none = layouts[0];
    ++none.shape.dims[3];
    EXPECT_NE(message(n, none, none).find("network maker: output " + std::to_string(n.out.size())),
              std::string::npos);
  }
}

// Parts need not agree with each other in how they keep what they see.
TEST(Ports, EachPartHasItsLayout) {
  const Manifest m = parse_manifest(good().dump(), "m.json");
  using enum abi::DataType;
  const Port tokens = port(kF16, {1, fake::kN, fake::kDv});
  Common common;
  const auto made = [&](Part maker, const Port& cross) {
    check_ports(m, {maker, "maker", "f.bmodel", 0, 1}, std::vector{tokens}, std::vector{cross},
                common);
  };
  made(Part::kTextCross, port(kF16, {1, fake::kN, fake::kK, fake::kh}));
  made(Part::kQuestionCross, port(kF16, {2 * fake::kL, fake::kN, fake::kH, fake::kh}));
  made(Part::kCaptionCross, port(kF16, {1, fake::kK, fake::kh, fake::kN}));
  EXPECT_EQ(common.crosses,
            (std::map<Part, CrossLayout>{{Part::kTextCross, CrossLayout::kByToken},
                                         {Part::kQuestionCross, CrossLayout::kByLayer},
                                         {Part::kCaptionCross, CrossLayout::kLongAxis}}));
}

// Steps of several rows may take the rows that theirs continue; those of one have nothing to
// choose.
TEST(Ports, ParentsOfAStep) {
  const Manifest m = parse_manifest(good().dump(), "m.json");
  using enum abi::DataType;
  const auto message = [&](int rows, std::optional<Port> parents) -> std::string {
    const Port cache = port(kF16, {rows, fake::kK, fake::kC, fake::kh});
    std::vector<Port> in{port(kI32, {rows, 1}), port(kI32, {1, 1}), cache,
                         port(kF16, {1, fake::kK, fake::kh, fake::kN})};
    if (parents) in.push_back(*parents);
    const std::vector<Port> out{port(kF32, {rows, fake::kV}), cache};
    Common common;
    try {
      check_ports(m, {Part::kCaptionStep, "step", "f.bmodel", 0, rows}, in, out, common);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(3, std::nullopt), "");
  EXPECT_EQ(message(3, port(kI32, {3})), "");
  EXPECT_EQ(message(3, port(kF32, {3})), "");
  EXPECT_NE(message(3, port(kI32, {4})).find("it must be i32 or f32 [3]"), std::string::npos);
  EXPECT_NE(message(3, port(kF16, {3})), "");
  EXPECT_EQ(message(1, std::nullopt), "");
  EXPECT_NE(message(1, port(kI32, {1})).find("5 inputs; expected 4"), std::string::npos);
}

}  // namespace
}  // namespace blip::backend::sophon
