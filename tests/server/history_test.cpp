// The page's history file.
#include "server/history.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "blip/error.h"
#include "server/history_api.h"

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
    return add_to(history, "", name, summary);
  }
  static std::int64_t add_to(History& history, const std::string& owner, const std::string& name,
                             const std::string& summary) {
    const HistoryEntry entry{.task = "caption", .name = name, .summary = summary, .result = "{}"};
    return history.add(owner, entry, {"image/png", std::string("\x89PNG\0x", 6)}).entry.id;
  }
  static History::Change add_large(History& history, const std::string& owner, std::size_t bytes) {
    return history.add(owner, {.task = "ask", .name = "n", .result = "{}"},
                       {"image/png", std::string(bytes, 'p')});
  }
  // A database of this program or another, written without History.
  std::string database(const std::string& name, const std::string& sql) const {
    const std::string path = (folder_ / name).string();
    sqlite3* file = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &file), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(file, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK) << message;
    sqlite3_close(file);
    return path;
  }
  static std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::string opening_fails(const std::string& path) {
    try {
      History history(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      return error.what();
    }
    return "opened";
  }
  static const ProblemKind* problem_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Problem& problem) {
      return &problem.kind();
    }
    return nullptr;
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
  const auto entry = history.find("", id);
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->name + "|" + entry->summary + "|" + entry->task, "a.png|a cat|caption");
  EXPECT_EQ(history.picture("", id)->bytes, std::string("\x89PNG\0x", 6));
  EXPECT_EQ(history.picture("", id)->type, "image/png");
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);  // somebody's pictures
}

TEST_F(HistoryFile, ListsNewestFirstByPageAndSearch) {
  History history(path_);
  std::vector<std::int64_t> ids;
  for (const char* text : {"a Cat", "a dog", "two cats", "100 %"})
    ids.push_back(add(history, "x.png", text));
  const auto all = history.list("", "", 0, 10).entries;
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all.front().id, ids[3]);
  EXPECT_EQ(history.list("", "", ids[2], 1).entries.front().summary, "a dog");
  EXPECT_EQ(history.list("", "CAT", 0, 10).entries.size(), 2u);
  EXPECT_EQ(history.list("", "%", 0, 10).entries.size(), 1u);  // a sign like any other
  EXPECT_EQ(history.list("", "_", 0, 10).entries.size(), 0u);
  EXPECT_EQ(history.list("", "'; DROP TABLE entries; --", 0, 10).entries.size(), 0u);
  EXPECT_EQ(history.list("", "", 0, 10).entries.size(), 4u);
}

TEST_F(HistoryFile, UpdatesAndRemoves) {
  History history(path_);
  const auto id = add(history, "a.png", "old"), other = add(history, "b.png", "other");
  EXPECT_TRUE(history.update("", id, "new", "{\"a\":1}").has_value());
  EXPECT_EQ(history.find("", id)->summary + history.find("", id)->result, "new{\"a\":1}");
  EXPECT_TRUE(history.remove("", id));
  EXPECT_FALSE(history.remove("", id));
  EXPECT_FALSE(history.update("", id, "x", "{}").has_value());
  EXPECT_FALSE(history.picture("", id).has_value());
  EXPECT_TRUE(history.find("", other).has_value());
  history.clear("");
  EXPECT_TRUE(history.list("", "", 0, 10).entries.empty());
  EXPECT_GT(add(history, "c.png", "c"), other);  // an id never comes back
}

TEST_F(HistoryFile, DeletedPicturesLeaveNoTrace) {
  {
    History history(path_);
    const auto id =
        history
            .add(
                "",
                {.task = "ask", .name = "SECRET-NAME", .summary = "SECRET-SUMMARY", .result = "{}"},
                {"image/png",
                 std::string(50'000, 'x') + "SECRET-PICTURE" + std::string(50'000, 'x')})
            .entry.id;
    // behind it, to be moved into its place
    for (int i = 0; i < 5; ++i) add(history, "n", "other");
    history.remove("", id);
    for (const char* file : {"", "-wal"})
      EXPECT_EQ(contents(path_ + file).find("SECRET"), std::string::npos) << file;
  }
  EXPECT_EQ(contents(path_).find("SECRET"), std::string::npos);
}

TEST_F(HistoryFile, ThreadsMayWriteAtOnce) {
  History history(path_);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&history] {
      for (int k = 0; k < 5; ++k) add(history, "t.png", "thread");
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(history.list("", "thread", 0, 100).entries.size(), 20u);
}

TEST_F(HistoryFile, NobodySeesOrChangesEntriesOfAnotherKey) {
  History history(path_);
  const std::string ann = history.owner_of("ann's key"), bob = history.owner_of("bob's key");
  EXPECT_EQ(history.owner_of(""), "");
  EXPECT_EQ(ann.size(), 64u);
  EXPECT_NE(ann, bob);
  const auto id = add_to(history, ann, "a.png", "a cat");
  for (const std::string& other : {bob, std::string()}) {
    EXPECT_TRUE(history.list(other, "", 0, 10).entries.empty());
    EXPECT_FALSE(history.find(other, id).has_value());
    EXPECT_FALSE(history.picture(other, id).has_value());
    EXPECT_FALSE(history.update(other, id, "x", "{}").has_value());
    EXPECT_FALSE(history.remove(other, id));
    history.clear(other);
    EXPECT_EQ(history.usage(other).entries, 0);
  }
  EXPECT_EQ(history.find(ann, id)->summary, "a cat");
  EXPECT_EQ(history.usage(ann).entries, 1);
}

TEST_F(HistoryFile, KeysAreNotInTheFileAndAreKnownAgain) {
  std::string owner;
  {
    History history(path_);
    owner = history.owner_of("SECRET-KEY");
    add_to(history, owner, "a.png", "a cat");
  }
  EXPECT_EQ(contents(path_).find("SECRET-KEY"), std::string::npos);
  History history(path_);
  EXPECT_EQ(history.owner_of("SECRET-KEY"), owner);
  EXPECT_EQ(history.list(owner, "", 0, 10).entries.size(), 1u);
  History other((folder_ / "other.db").string());
  // two files do not tell that they know the same key
  EXPECT_NE(other.owner_of("SECRET-KEY"), owner);
}

TEST_F(HistoryFile, TheOldestMakeRoomAndOnlyTheOwners) {
  History history(path_, {.max_entries = 3});
  const auto foreign = add_to(history, "other", "f.png", "foreign");
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(add(history, "x.png", std::to_string(i)));
  const auto change = add_large(history, "", 10);
  EXPECT_EQ(change.dropped, 1);
  EXPECT_FALSE(history.find("", ids[0]).has_value());
  EXPECT_TRUE(history.find("", ids[1]).has_value());
  EXPECT_TRUE(history.find("other", foreign).has_value());
  EXPECT_EQ(history.usage("").entries, 3);
}

TEST_F(HistoryFile, BytesAreCountedWithPicturesAndTexts) {
  History history(path_, {.max_bytes = 100'000});
  EXPECT_EQ(add_large(history, "", 30'000).dropped, 0);
  EXPECT_EQ(history.usage("").bytes, 1024 + 1 + 2 + 30'000);
  const auto second = add_large(history, "", 30'000).entry.id;
  const auto third = add_large(history, "", 30'000).entry.id;
  EXPECT_EQ(add_large(history, "", 30'000).dropped, 1);
  // An entry that grows makes room as well, and never drops itself.
  const auto grown = history.update("", second, "", std::string(20'000, ' ') + "1");
  ASSERT_TRUE(grown.has_value());
  EXPECT_EQ(grown->dropped, 1);
  EXPECT_FALSE(history.find("", third).has_value());
  EXPECT_EQ(history.find("", second)->result.size(), 20'001u);
  EXPECT_EQ(problem_of([&] { add_large(history, "", 100'000); }), &kTooLarge);
  EXPECT_EQ(problem_of([&] { history.update("", second, "", std::string(90'000, ' ') + "1"); }),
            &kTooLarge);
  EXPECT_EQ(history.find("", second)->result.size(), 20'001u);
  EXPECT_EQ(history.usage("").entries, 2);
}

TEST_F(HistoryFile, GivesSpaceBack) {
  History history(path_);
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(add_large(history, "", 200'000).entry.id);
  const auto size = [&] {
    return std::filesystem::file_size(path_) + std::filesystem::file_size(path_ + "-wal");
  };
  EXPECT_GT(size(), 4'000'000u);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(history.remove("", ids[static_cast<std::size_t>(i)]));
  EXPECT_LT(size(), 2'200'000u);
  EXPECT_EQ(history.picture("", ids[15])->bytes, std::string(200'000, 'p'));
  history.clear("");
  EXPECT_LT(size(), 100'000u);
}

// What version 1 of the file was like.
constexpr const char* kFirstVersion = R"(
  CREATE TABLE entries (id INTEGER PRIMARY KEY AUTOINCREMENT, created TEXT NOT NULL,
    task TEXT NOT NULL, name TEXT NOT NULL, summary TEXT NOT NULL, result TEXT NOT NULL,
    picture_type TEXT NOT NULL, picture BLOB NOT NULL);
  INSERT INTO entries VALUES (7, '2026-01-01T00:00:00.000Z', 'caption', 'old.png', 'an old cat',
    '{"a":1}', 'image/png', zeroblob(300000));
  PRAGMA user_version = 1;)";

TEST_F(HistoryFile, FilesOfTheFirstVersionAreBroughtUpToDate) {
  const std::string path = database("first.db", kFirstVersion);
  {
    History history(path);
    ASSERT_EQ(history.list("", "", 0, 10).entries.size(), 1u);
    EXPECT_EQ(history.find("", 7)->summary, "an old cat");
    EXPECT_EQ(history.usage("").bytes, 1024 + 7 + 10 + 7 + 300'000);
    EXPECT_TRUE(history.list(history.owner_of("key"), "", 0, 10).entries.empty());
    EXPECT_EQ(add(history, "new.png", "new"), 8);
    history.remove("", 7);
  }
  EXPECT_LT(std::filesystem::file_size(path), 100'000u);  // it gives space back now
  // A program of the first version writes its number over ours.
  database("first.db", "PRAGMA user_version = 1");
  History again(path);
  EXPECT_EQ(again.list("", "", 0, 10).entries.size(), 1u);
}

TEST_F(HistoryFile, DatabasesOfOthersAreRefusedAndLeftAlone) {
  const std::string path =
      database("other.db", "CREATE TABLE mail (text TEXT); INSERT INTO mail VALUES ('dear')");
  const std::string before = contents(path);
  EXPECT_NE(opening_fails(path).find("other.db is a database of another program"),
            std::string::npos);
  EXPECT_EQ(contents(path), before);
  const std::string like =
      database("like.db", "CREATE TABLE entries (id INTEGER PRIMARY KEY, title TEXT)");
  EXPECT_NE(opening_fails(like).find("another program"), std::string::npos);
  const std::string newer =
      database("newer.db", std::string(kFirstVersion) + "PRAGMA user_version = 99");
  EXPECT_NE(opening_fails(newer).find("newer version of blip"), std::string::npos);
  EXPECT_NE(opening_fails(folder_.string()).find("is no file"), std::string::npos);
}

TEST_F(HistoryFile, ADamagedFileIsAClearError) {
  {
    History history(path_);
    for (int i = 0; i < 50; ++i) add(history, "name", std::string(3000, 's'));
  }
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  const std::string said = opening_fails(path_);
  EXPECT_NE(said.find(path_ + ": database disk image is malformed"), std::string::npos) << said;
  EXPECT_NE(said.find("--no-history"), std::string::npos) << said;
}

// What another program may have put into a row is shown as far as it goes.
TEST_F(HistoryFile, RowsOfStrangersAreShownOrExplained) {
  { History history(path_); }
  const std::string deep = std::string(60'000, '[') + std::string(60'000, ']');
  const auto row = [](int id, const std::string& columns) {
    return "INSERT INTO entries (id, created, task, name, summary, result, picture_type, picture) "
           "VALUES (" +
           std::to_string(id) + ", " + columns + ");";
  };
  database("deep/history.db",
           row(1, "'now', 'caption', 'deep', '', '" + deep + "', 'image/png', x'00'") +
               row(2, "5, 6.5, x'ff00fe', x'41c3', 7, 8, '<svg onload=alert(1)>'") +
               row(3, "'', 'dance', char(0), '', 'no JSON', 'text/html', x'89504e470d0a1a0a'") +
               row(4,
                   "'', 'ask', CAST(zeroblob(10000) AS TEXT), '', printf('%.*c', 5000000, '1'), "
                   "'', zeroblob(1000)") +
               row(5,
                   "'', 'ask', 'broad', '', '[' || replace(printf('%.*c', 100000, '1'), '1', '1,') "
                   "|| '1]', '', ''") +
               row(-6, "'', 'ask', 'below', '', '{}', '', ''"));
  History history(path_);
  const auto page = history.list("", "", 0, 10);
  ASSERT_EQ(page.entries.size(), 5u);
  const auto shown = [&](std::int64_t id) {
    return Json::parse(entry_text(*history.find("", id)));
  };
  EXPECT_EQ(shown(1)["result"], nullptr);
  EXPECT_EQ(shown(1)["error"], "the stored result cannot be shown: nested deeper than 64 levels");
  EXPECT_EQ(shown(2)["created"], "5");
  EXPECT_EQ(shown(2)["name"], std::string("\xef\xbf\xbd\0\xef\xbf\xbd", 7));
  EXPECT_EQ(shown(2)["summary"], "A\xef\xbf\xbd");
  EXPECT_EQ(shown(2)["result"], 7);
  EXPECT_EQ(shown(3)["task"], "dance");
  EXPECT_TRUE(shown(3)["error"].get<std::string>().starts_with(
      "the stored result cannot be shown: parse error at line 1"))
      << shown(3);
  EXPECT_EQ(shown(4)["name"].get<std::string>().size(), History::kMaxName);
  EXPECT_EQ(shown(4)["error"],
            "the name is longer than 4096 bytes and cut; the stored result cannot be shown: longer "
            "than 4194304 bytes");
  EXPECT_EQ(shown(5)["error"], "the stored result cannot be shown: more than 20000 values");
}

TEST_F(HistoryFile, LargeTextsComeInMorePages) {
  History history(path_);
  const std::string large = Json(std::string(3'000'000, 'x')).dump();
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 5; ++i)
    ids.push_back(history.add("", {.task = "ask", .result = large}, {"image/png", "p"}).entry.id);
  const auto first = history.list("", "", 0, 100);
  ASSERT_EQ(first.entries.size(), 3u);
  EXPECT_EQ(first.next, ids[2]);
  const auto second = history.list("", "", first.next, 100);
  ASSERT_EQ(second.entries.size(), 2u);
  EXPECT_EQ(second.entries.front().id, ids[1]);
  EXPECT_EQ(second.next, 0);
}

TEST_F(HistoryFile, MayBeKeptInMemoryAlone) {
  History history(":memory:");
  const auto id = add(history, "a", "b");
  EXPECT_EQ(history.find("", id)->summary, "b");
  history.clear("");
  EXPECT_FALSE(std::filesystem::exists(":memory:"));
  EXPECT_FALSE(std::filesystem::exists(":memory:-reserve"));
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
