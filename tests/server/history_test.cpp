// The page's history file.
#include "server/history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "blip/error.h"

namespace blip::server {
namespace {

class HistoryFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "blip-history-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = (folder_ / "deep" / "history.db").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static std::int64_t add(History& history, const std::string& name, const std::string& summary) {
    return history.add({.task = "caption", .name = name, .summary = summary, .result = "{}"}, {"image/png", std::string("\x89PNG\0x", 6)});
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(HistoryFile, KeepsEntriesAndPicturesOverAReopening) {
  std::int64_t id = 0;
  {
    History history(path_);
    id = add(history, "a.png", "a cat");
  }
  History history(path_);
  const auto entry = history.find(id);
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->name + "|" + entry->summary + "|" + entry->task, "a.png|a cat|caption");
  EXPECT_EQ(history.picture(id)->bytes, std::string("\x89PNG\0x", 6));
  EXPECT_EQ(history.picture(id)->type, "image/png");
  struct stat status{};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);  // somebody's pictures
}

TEST_F(HistoryFile, ListsNewestFirstByPageAndSearch) {
  History history(path_);
  std::vector<std::int64_t> ids;
  for (const char* text : {"a Cat", "a dog", "two cats", "100 %"}) ids.push_back(add(history, "x.png", text));
  const auto all = history.list("", 0, 10);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all.front().id, ids[3]);
  EXPECT_EQ(history.list("", ids[2], 1).front().summary, "a dog");
  EXPECT_EQ(history.list("CAT", 0, 10).size(), 2u);
  EXPECT_EQ(history.list("%", 0, 10).size(), 1u);  // a sign like any other
  EXPECT_EQ(history.list("_", 0, 10).size(), 0u);
  EXPECT_EQ(history.list("'; DROP TABLE entries; --", 0, 10).size(), 0u);
  EXPECT_EQ(history.list("", 0, 10).size(), 4u);
}

TEST_F(HistoryFile, UpdatesAndRemoves) {
  History history(path_);
  const auto id = add(history, "a.png", "old"), other = add(history, "b.png", "other");
  EXPECT_TRUE(history.update(id, "new", "{\"a\":1}"));
  EXPECT_EQ(history.find(id)->summary + history.find(id)->result, "new{\"a\":1}");
  EXPECT_TRUE(history.remove(id));
  EXPECT_FALSE(history.remove(id));
  EXPECT_FALSE(history.update(id, "x", "{}"));
  EXPECT_FALSE(history.picture(id).has_value());
  EXPECT_TRUE(history.find(other).has_value());
  history.clear();
  EXPECT_TRUE(history.list("", 0, 10).empty());
  EXPECT_GT(add(history, "c.png", "c"), other);  // an id never comes back
}

TEST_F(HistoryFile, DeletedPicturesLeaveNoTrace) {
  {
    History history(path_);
    const auto id = history.add({.task = "ask", .name = "n", .summary = "s", .result = "{}"}, {"image/png", "SECRET-PICTURE-BYTES"});
    history.remove(id);
  }
  std::ifstream file(path_, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(bytes.find("SECRET-PICTURE-BYTES"), std::string::npos);
}

TEST_F(HistoryFile, ThreadsMayWriteAtOnce) {
  History history(path_);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&history] {
      for (int k = 0; k < 5; ++k) add(history, "t.png", "thread");
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(history.list("thread", 0, 100).size(), 20u);
}

TEST_F(HistoryFile, AFileThatIsNoDatabaseIsAClearError) {
  const std::string path = (folder_ / "notes.txt").string();
  std::ofstream(path) << std::string(5000, 'x');
  try {
    History history(path);
    FAIL() << "opened a text file as a history";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
  }
  EXPECT_EQ(std::filesystem::file_size(path), 5000u);  // left as it was
}

}  // namespace
}  // namespace blip::server
