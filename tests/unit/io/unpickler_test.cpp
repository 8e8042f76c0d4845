// The unpickler executes nothing and stays within bounds, whatever the pickle asks for.
#include "io/unpickler.h"

#include <gtest/gtest.h>

#include "support.h"
#include "torch_archive.h"

namespace blip::io {
namespace {

using namespace torch_archive;

Pickle read(const std::string& body) { return unpickle(to_bytes(kProto + body + "."), "x"); }

void expect_refused(const std::string& body, std::initializer_list<std::string> parts) {
  const Bytes bytes = to_bytes(kProto + body + ".");
  expect_error(ErrorCode::kModel, parts, [&] { unpickle(bytes, "x"); });
}

const std::string kRun = text("echo broken > blip-was-here");

TEST(Unpickler, RefusesEveryNameNotOnItsList) {
  const std::pair<const char*, const char*> names[] = {
      {"os", "system"},
      {"posix", "system"},
      {"builtins", "eval"},
      {"__builtin__", "exec"},
      {"subprocess", "Popen"},
      {"argparse", "Namespace"},
      {"torch", "load"},
      {"torch.hub", "load"},
      {"collections", "defaultdict"},
      {"torch._utils", "_rebuild_tensor_v2.__globals__"},
      {"numpy.core.multiarray", "scalar"}};
  for (const auto& [module, name] : names) {
    const std::string full = std::string(module) + "." + name;
    expect_refused(global(module, name) + kRun + "\x85R",
                   {"x: byte", full, "refused", "torch.save(model.state_dict()"});
    expect_refused(text(module) + text(name) + "\x93" + kRun + "\x85R", {full, "refused"});
    expect_refused(dict({{"args", global(module, name) + ")R}b"}}), {full, "refused"});
  }
}

TEST(Unpickler, RefusesOpcodesThatConstruct) {
  const std::string name = global("collections", "OrderedDict");
  expect_refused("(" + kRun + "ios\nsystem\n", {"INST", "refused"});
  expect_refused("(" + name + kRun + "o", {"OBJ", "refused"});
  expect_refused(name + ")\x81", {"NEWOBJ"});
  expect_refused(name + ")}\x92", {"NEWOBJ_EX"});
  expect_refused("\x82\x01", {"EXT1"});
  expect_refused(std::string("\x83\x01\x00", 3), {"EXT2"});
  expect_refused(std::string("\x84\x01\x00\x00\x00", 5), {"EXT4"});
  expect_refused("P1\n", {"PERSID"});
  expect_refused("I1\n", {"INT"});
  expect_refused("\x8f", {"EMPTY_SET"});
  expect_refused("\x97", {"NEXT_BUFFER"});
  expect_refused("\xff", {"opcode number 255"});
}

TEST(Unpickler, CallsNothingButItsOwn) {
  expect_refused(text("os.system") + kRun + "\x85R", {"no function"});
  expect_refused(global("torch", "FloatStorage") + ")R", {"refused"});
  expect_refused(global("torch", "float32") + ")R", {"refused"});
  expect_refused(global("collections", "OrderedDict") + "NR", {"tuple of arguments"});
  expect_refused(global("collections", "OrderedDict") + "]]\x86R", {"OrderedDict with 2"});
  expect_refused(global("collections", "OrderedDict") + "]Na\x85R", {"no pair"});
  expect_refused(global("torch._utils", "_rebuild_parameter") + "N\x85R", {"parameter"});
  expect_refused(global("torch._utils", "_rebuild_tensor_v2") + ")R", {"tensor's description"});
  expect_refused(global("torch._utils", "_rebuild_tensor_v2") + "(NK\1))tR",
                 {"tensor's description"});
  expect_refused(global("torch", "Size") + "N\x85R", {"torch.Size"});
}

TEST(Unpickler, BuildRunsNoSetState) {
  expect_refused("N}b", {"BUILD"});
  expect_refused(tensor(storage("FloatStorage", "0", 1), 0, {1}, {1}) + "}b", {"BUILD"});
  expect_refused(global("collections", "OrderedDict") + "}b", {"BUILD"});
  // A state dict carries its versions this way: accepted and left aside.
  const Pickle pickle =
      read(global("collections", "OrderedDict") + ")R" + dict({{"_metadata", "}"}}) + "b");
  EXPECT_EQ(pickle[pickle.root].kind, ValueKind::dict);
  EXPECT_TRUE(pickle[pickle.root].items.empty());
}

TEST(Unpickler, RefusesStrangePersistentIds) {
  for (const std::string& id :
       {std::string("N"), std::string(")"), std::string("(") + text("module") + "NNNNt",
        text("storage"),
        std::string("(") + text("storage") + global("torch", "float32") + text("0") + text("cpu") +
            integer(1) + "t",
        std::string("(") + text("storage") + global("torch", "FloatStorage") + integer(0) +
            text("cpu") + integer(1) + "t"}) {
    expect_refused(id + "Q", {"stor"});
  }
}

TEST(Unpickler, ReadsPlainValues) {
  const std::string longs = std::string("\x8a\x00", 2) + std::string("\x8a\x01\xff", 3) +
                            std::string("\x8a\x02\xff\x00", 4) +
                            std::string("\x8b\x01\x00\x00\x00\x80", 6);
  const Pickle pickle = read("(J\xfe\xff\xff\xffK\xffM\xff\xff" + longs + "t");
  const std::int64_t expected[] = {-2, 255, 65535, 0, -1, 255, -128};
  const Value& root = pickle[pickle.root];
  ASSERT_EQ(root.items.size(), std::size(expected));
  for (std::size_t i = 0; i < root.items.size(); ++i)
    EXPECT_EQ(pickle[root.items[i]].integer, expected[i]) << i;

  const Pickle others = read("(N\x88\x89G" + std::string("\xbf\xf8\0\0\0\0\0\0", 8) + text("t") +
                             std::string("\x8c\x01u", 3) + "U\1vt");
  const Value& tuple = others[others.root];
  ASSERT_EQ(tuple.items.size(), 7u);
  EXPECT_EQ(others[tuple.items[0]].kind, ValueKind::none);
  EXPECT_EQ(others[tuple.items[1]].integer, 1);
  EXPECT_EQ(others[tuple.items[2]].integer, 0);
  EXPECT_EQ(others[tuple.items[3]].real, -1.5);
  EXPECT_EQ(others[tuple.items[4]].text + others[tuple.items[5]].text + others[tuple.items[6]].text,
            "tuv");
}

TEST(Unpickler, IntegersBeyond64BitsAreNotMistaken) {
  const Pickle pickle = read(std::string("\x8a\x09", 2) + std::string(9, '\1'));
  EXPECT_EQ(pickle[pickle.root].kind, ValueKind::opaque);
}

TEST(Unpickler, RefusesBrokenStacks) {
  expect_refused("", {"empty stack"});
  expect_refused("NN", {"left over"});
  expect_refused("(N", {"left over"});  // a mark that nothing closes
  expect_refused("t", {"never began"});
  expect_refused("(a", {"empty stack"});
  expect_refused("N(a", {"empty stack"});
  expect_refused("NNa", {"no list or dict"});
  expect_refused("}(Nu", {"no value"});
  expect_refused("(Nd", {"no value"});
  expect_refused("h\5", {"value 5", "never kept"});
  expect_refused("Nr\xff\xff\xff\x7f", {"more than"});
  expect_refused("X\xff\xff\xff\xff", {"a string", "4294967295 bytes"});
  expect_refused("\x8b\xff\xff\xff\xff", {"LONG"});
  expect_refused("cno newline", {"GLOBAL"});
}

TEST(Unpickler, RefusesOtherProtocols) {
  expect_error(ErrorCode::kModel, {"protocol 2 or later"},
               [] { unpickle(to_bytes("(dp0\n."), "x"); });
  expect_error(ErrorCode::kModel, {"protocol 6"}, [] { unpickle(to_bytes("\x80\x06N."), "x"); });
  expect_refused(kProto + "N", {"second protocol"});
}

// Each of these is small, and would take gigabytes or hours if followed.
TEST(Unpickler, BoundsWhatItBuilds) {
  // A list of ten times a list of ten times...: shared, never walked.
  std::string tower = "]q\1";
  for (int i = 0; i < 100; ++i)
    tower += "0](" + [] {
      std::string ten;
      for (int j = 0; j < 10; ++j) ten += "h\1";
      return ten;
    }() + "eq\1";
  EXPECT_EQ(read(tower).values.size(), 101u);
  // A list that holds itself.
  EXPECT_EQ(read("]q\1h\1a").values.size(), 1u);
  expect_refused(std::string(2'000'000, 'N'), {"more than 1048576 values"});
  expect_refused(std::string(2'000'000, '('), {"more than 1048576 values"});
  expect_refused(std::string("N") + std::string(2'000'000, '2'), {"more than 1048576 values"});
  // deep nesting
  EXPECT_EQ(read(std::string(500'000, ']') + std::string(499'999, 'a')).values.size(), 500'000u);
  expect_refused(std::string(17 << 20, 'N'), {"at most 16777216"});
}

TEST(Unpickler, BoundsRepeatedWork) {
  // A list of 100,000 kept once and copied again and again.
  const std::string list = "](" + std::string(100'000, 'N') + "eq\1" + "0";
  std::string copies = list;
  for (int i = 0; i < 1000; ++i) copies += global("torch", "Size") + "h\1\x85R0";
  expect_refused(copies + "N", {"repeats itself"});
  std::string calls = "(" + std::string(100'000, 'N') + "tq\1" + "0";
  for (int i = 0; i < 1000; ++i) calls += global("torch", "device") + "h\1R0";
  expect_refused(calls + "N", {"repeats itself"});
  std::string names = text(std::string(1'000'000, 'n')) + "q\1" + "0";
  for (int i = 0; i < 1000; ++i) names += "h\1h\1\x93";
  expect_refused(names, {"refused"});
}

TEST(Unpickler, FindLooksUpTextKeys) {
  const Pickle pickle = read("}(" + integer(1) + "N" + text("b") + integer(5) + "u");
  const Value& root = pickle[pickle.root];
  ASSERT_NE(pickle.find(root, "b"), nullptr);
  EXPECT_EQ(pickle.find(root, "b")->integer, 5);
  EXPECT_EQ(pickle.find(root, ""), nullptr);
}

}  // namespace
}  // namespace blip::io
