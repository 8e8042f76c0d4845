// Arguments to pictures and texts.
#include "cli/inputs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cli/exit.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

// All that a Source gives.
std::vector<Input> expand_inputs(const std::vector<std::string>& arguments,
                                 const InputFilter& filter, LeftOut* left_out = nullptr) {
  Source source(arguments, {.filter = filter});
  std::vector<Input> inputs;
  while (std::optional<Input> input = source.next()) inputs.push_back(std::move(*input));
  if (left_out != nullptr) *left_out = source.left_out();
  return inputs;
}

class Inputs : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "blip-inputs-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content = "x") {
    const fs::path path = fs::path(folder_) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << content;
    return path.string();
  }

  std::vector<std::string> names(const std::vector<std::string>& arguments) {
    std::vector<std::string> result;
    for (const Input& input : expand_inputs(arguments, filter_))
      result.push_back(input.error.empty() ? input.name : "error " + input.name);
    return result;
  }

  std::string folder_;
  InputFilter filter_;
};

using Names = std::vector<std::string>;

TEST_F(Inputs, FolderGivesItsPicturesSortedByPath) {
  const std::string b = write("b.jpeg"), a = write("a.GIF"), c = write("sub/deep/c.webp");
  write(".hidden.png");
  write(".git/x.png");
  write("notes.txt");
  write("png");
  EXPECT_EQ(names({folder_}), (Names{a, b, c}));
}

TEST_F(Inputs, LinksAreFollowedAndLoopsCounted) {
  const std::string a = write("a.png");
  fs::create_directory_symlink(folder_, folder_ + "/loop");
  LeftOut left_out;
  EXPECT_EQ(expand_inputs({folder_}, {}, &left_out).size(), 1u);
  EXPECT_EQ(left_out.again, 1u);
  EXPECT_EQ(names({folder_ + "/loop"}), (Names{folder_ + "/loop/a.png"}));
}

TEST_F(Inputs, NamesAndPathsAreExcluded) {
  const std::string a = write("a.png"), b = write("b_mask.png"), c = write("masks/c.png"),
                    d = write("old/e.jpg"), e = write("old/masks/d.png");
  filter_.exclude = {"*_mask.*"};
  EXPECT_EQ(names({folder_}), (Names{a, c, d, e}));
  filter_.exclude = {"masks"};
  EXPECT_EQ(names({folder_}), (Names{a, b, d}));
  filter_.exclude = {"old/*", "a.???"};
  EXPECT_EQ(names({folder_ + "/"}), (Names{folder_ + "/b_mask.png", folder_ + "/masks/c.png"}));
  filter_.exclude = {"*/masks/*"};
  LeftOut left_out;
  EXPECT_EQ(expand_inputs({folder_, b}, filter_, &left_out).size(), 5u);
  EXPECT_EQ(describe(left_out), "1 excluded file or folder");
  // A folder may come out empty.
  filter_.exclude = {"*.*", "masks", "old"};
  EXPECT_EQ(names({folder_}), (Names{}));
}

TEST_F(Inputs, PicturesThatAreNotNewerAreLeftOut) {
  const std::string old = write("old.png"), edge = write("edge.png"),
                    fresh = write("sub/fresh.png");
  const auto set = [](const std::string& path, time_t seconds) {
    const timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  };
  set(old, 999);
  set(edge, 1000);
  set(fresh, 1001);
  filter_.newer_than = timespec{1000, 0};
  EXPECT_EQ(names({folder_}), (Names{fresh}));
  filter_.newer_than = read_time(old, "--newer-than");
  EXPECT_EQ(names({folder_, old, fresh}), (Names{edge, fresh, fresh}));
  filter_.newer_than = read_time(fresh, "--newer-than");
  LeftOut left_out;
  EXPECT_TRUE(expand_inputs({folder_}, filter_, &left_out).empty());
  EXPECT_EQ(describe(left_out), "3 pictures that are not newer");
}

TEST_F(Inputs, WhatIsNamedItselfIsFilteredToo) {
  const std::string a = write("a.png"), b = write("b_mask.png"),
                    list = write("list", b + "\n" + a + "\n" + folder_ + "/none_mask.png\n");
  filter_.exclude = {"*_mask.*"};
  LeftOut left_out;
  EXPECT_EQ(expand_inputs({b, a, "@" + list, folder_ + "/*_mask.png"}, filter_, &left_out).size(),
            2u);
  EXPECT_EQ(left_out.excluded, 4u);
  filter_.exclude = {folder_ + "/b*"};
  EXPECT_EQ(names({b, a, "-"}), (Names{a, "-"}));
  filter_.exclude.clear();
  const timespec times[2] = {{999, 0}, {999, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, b.c_str(), times, 0), 0);
  filter_.newer_than = timespec{1000, 0};
  EXPECT_EQ(names({b, "@" + list}), (Names{a, folder_ + "/none_mask.png"}));
}

TEST_F(Inputs, ANamedPipeMayBeAListBeforeSomebodyWritesIt) {
  const std::string pipe = folder_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  Source source({"@" + pipe}, {});
  // A program that nobody writes to can still be stopped.
  int asked = 0;
  EXPECT_THROW(source.next([&asked] { return ++asked > 2; }), Exit);
  Source waiting({"@" + pipe}, {});
  std::thread writer([&pipe] { std::ofstream(pipe) << "a.png\nb.png\n"; });
  EXPECT_EQ(waiting.next()->name, "a.png");
  EXPECT_EQ(waiting.next()->name, "b.png");
  EXPECT_FALSE(waiting.next().has_value());
  writer.join();
}

TEST_F(Inputs, TimesAreDatesOrFiles) {
  const time_t midnight = read_time("2026-01-31", "--newer-than").tv_sec;
  EXPECT_EQ(read_time("2026-01-31T18:30", "--newer-than").tv_sec - midnight, 18 * 3600 + 1800);
  EXPECT_EQ(read_time("2026-01-31 18:30:05", "--newer-than").tv_sec - midnight, 18 * 3600 + 1805);
  for (const char* bad : {"yesterday", "2026-02-31", "2026-01-31x", "31.01.2026", ""}) {
    try {
      read_time(bad, "--newer-than");
      ADD_FAILURE() << bad;
    } catch (const Exit& exit) {
      EXPECT_EQ(exit.code(), kExitUsage);
      EXPECT_EQ(
          std::string(exit.what())
              .find("--newer-than: \"" + std::string(bad) + "\" is neither a file nor a date"),
          0u)
          << exit.what();
    }
  }
}

TEST_F(Inputs, KnownEndingsAndContentsAreInputsWhateverReadsThem) {
  const std::string a = write("a.HEIC"), b = write("b.psd"), c = write("c.tif"),
                    jxl = write("jxl", "\xff\x0a...."), mpo = write("m.mpo");
  write("d.pdf", "%PDF-1.7");
  write("e.mp4", std::string("\0\0\0\x14"
                             "ftypisom\0\0\0\0mp42",
                             20));
  write("f", "BMW and others");
  LeftOut left_out;
  EXPECT_EQ(names({folder_}), (Names{a, b, c, jxl, mpo}));
  expand_inputs({folder_}, {}, &left_out);
  EXPECT_EQ(describe(left_out), "3 files that are no pictures");
}

TEST_F(Inputs, OrderAndDuplicatesStay) {
  const std::string a = write("a.png");
  EXPECT_EQ(names({"missing.png", a, "-", a, "-"}), (Names{"missing.png", a, "-", a, "error -"}));
}

TEST_F(Inputs, ExistingNamesAreNoPatterns) {
  const std::string literal = write("a[1].png");
  write("a1.png");
  EXPECT_EQ(names({literal}), (Names{literal}));
  fs::remove(literal);
  EXPECT_EQ(names({literal}), (Names{folder_ + "/a1.png"}));
}

TEST_F(Inputs, ArgumentsWithoutPicturesKeepTheirPlaceAsErrors) {
  fs::create_directory(folder_ + "/empty");
  EXPECT_EQ(names({folder_ + "/empty", folder_ + "/*.bmp"}),
            (Names{"error " + folder_ + "/empty", "error " + folder_ + "/*.bmp"}));
}

TEST_F(Inputs, NamesAreNeededUnlessThereIsOneFile) {
  const std::string a = write("a.png");
  EXPECT_FALSE(names_needed({a}));
  EXPECT_FALSE(names_needed({"-"}));
  EXPECT_TRUE(names_needed({a, a}));
  EXPECT_TRUE(names_needed({folder_}));
  EXPECT_TRUE(names_needed({folder_ + "/*.png"}));
}

TEST_F(Inputs, LinesWithoutMarksAndBlanks) {
  EXPECT_EQ(read_lines(write("t", "\xef\xbb\xbfone\r\n\n \t\n two \nthree"), "--texts"),
            (Names{"one", " two ", "three"}));
  EXPECT_THROW(read_lines(write("e", "\n \n"), "--texts"), Exit);
  EXPECT_THROW(read_lines(folder_ + "/none", "--texts"), Exit);
  try {
    read_lines(folder_ + "/none", "--texts");
  } catch (const Exit& exit) {
    EXPECT_EQ(exit.code(), kExitUsage);
  }
}

TEST_F(Inputs, BlankTextsAreRefused) {
  EXPECT_NO_THROW(check_texts({"a"}, "--text"));
  EXPECT_THROW(check_texts({"a", ""}, "--text"), Exit);
  EXPECT_THROW(check_texts({" \t"}, "--text"), Exit);
}

// Standard input from a string for the time of a test.
class StandardInput {
 public:
  explicit StandardInput(const std::string& content) : saved_(dup(STDIN_FILENO)) {
    FILE* file = std::tmpfile();
    std::fwrite(content.data(), 1, content.size(), file);
    std::rewind(file);
    dup2(fileno(file), STDIN_FILENO);
    std::fclose(file);
  }
  ~StandardInput() {
    dup2(saved_, STDIN_FILENO);
    close(saved_);
  }

 private:
  int saved_;
};

Names lines_of(const std::string& content) {
  const StandardInput input(content);
  LineReader reader;
  Names lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

TEST(LineReader, SplitsLines) {
  EXPECT_EQ(lines_of(""), (Names{}));
  EXPECT_EQ(lines_of("a\n\nb\r\nc"), (Names{"a", "", "b", "c"}));
  EXPECT_EQ(lines_of("\n"), (Names{""}));
}

TEST(LineReader, CutsEndlessLines) {
  const std::size_t limit = std::size_t{1} << 20;
  const Names lines = lines_of(std::string(2 * limit + 5, 'x') + "\nend");
  std::size_t total = 0;
  for (const std::string& line : lines) {
    EXPECT_LE(line.size(), limit);
    total += line.size();
  }
  EXPECT_EQ(total, 2 * limit + 5 + 3);
  EXPECT_EQ(lines.back(), "end");
}

}  // namespace
}  // namespace blip::cli
