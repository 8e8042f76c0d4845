// A job goes on where it was, wherever it was ended.
#include "jobs/journal.h"

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <sstream>

#include "blip/error.h"
#include "jobs/derived_file.h"
#include "temporary_folder.h"

namespace blip::jobs {
namespace {

class Journals : public InFolder {
 protected:
  JournalOptions options(const Json& identity = {{"--beams", 3}}) {
    JournalOptions options;
    options.journal = path("out.job");
    options.output = path("out");
    options.errors = {path("out.errors")};
    options.preamble = "head\n";
    options.identity = identity;
    options.notice = [this](const std::string& notice) { notices_.push_back(notice); };
    return options;
  }

  static std::string name(int i) { return "picture " + std::to_string(i); }
  static Row row(int i) {
    return {key_of(name(i)), i % 5 == 4, name(i) + std::string(i % 7, '.') + "\n"};
  }

  // What is free of the first pictures is claimed and done, in pieces.
  static void work(Journal& journal, int pictures, int piece) {
    for (int begin = 0; begin < pictures; begin += piece) {
      std::vector<Key> keys;
      for (int i = begin; i < std::min(begin + piece, pictures); ++i)
        keys.push_back(key_of(name(i)));
      const std::vector<State> states = journal.claim(keys);
      std::vector<Row> rows;
      for (std::size_t i = 0; i < keys.size(); ++i)
        if (states[i] == State::kFree) rows.push_back(row(begin + static_cast<int>(i)));
      journal.commit(std::move(rows));
    }
  }

  // Each picture has one row, in the file where it belongs.
  void expect_all(int pictures) {
    std::map<std::string, int> lines;
    for (const char* file : {"out", "out.errors"}) {
      std::istringstream text(read(file));
      for (std::string line; std::getline(text, line);) ++lines[line + "\n"];
    }
    EXPECT_EQ(lines["head\n"], 1);
    for (int i = 0; i < pictures; ++i) EXPECT_EQ(lines[row(i).text], 1) << row(i).text;
    EXPECT_EQ(lines.size(), static_cast<std::size_t>(pictures) + 1);
  }

  std::string refusal(const JournalOptions& with) {
    try {
      Journal journal(with);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "none";
  }

  std::vector<std::string> notices_;
};

TEST_F(Journals, RowsComeOnceAndStay) {
  {
    Journal journal(options());
    work(journal, 20, 3);
    EXPECT_EQ(journal.done(), 16u);
    EXPECT_EQ(journal.failed(), 4u);
  }
  expect_all(20);
  Journal journal(options());
  EXPECT_EQ(journal.done(), 16u);
  EXPECT_EQ(journal.state(key_of(name(3))), State::kDone);
  EXPECT_EQ(journal.state(key_of(name(4))), State::kFailed);
  EXPECT_EQ(journal.state(key_of(name(20))), State::kFree);
  work(journal, 25, 4);
  expect_all(25);
  EXPECT_TRUE(notices_.empty());
}

// The bytes reach the disk in this order: the records of a piece, its rows, its errors.
TEST_F(Journals, GoesOnFromEveryByteWhereItWasEnded) {
  constexpr int kPictures = 10;
  {
    Journal journal(options());
    work(journal, 5, 5);
  }
  const std::string journal_5 = read("out.job"), out_5 = read("out"), errors_5 = read("out.errors");
  {
    Journal journal(options());
    work(journal, kPictures, kPictures);
  }
  const std::string journal_10 = read("out.job"), out_10 = read("out"),
                    errors_10 = read("out.errors");
  const auto end_at = [&](std::size_t of_journal, std::size_t of_out, std::size_t of_errors) {
    write("out.job", journal_10.substr(0, of_journal));
    write("out", out_10.substr(0, of_out));
    write("out.errors", errors_10.substr(0, of_errors));
    Journal journal(options());
    work(journal, kPictures, 3);
    expect_all(kPictures);
  };
  // Behind the first piece stand a record of the second opening, the claims of five pictures, the
  // records of four and that of the one that failed.
  const std::size_t claimed = journal_5.size() + 32 * 6, recorded = claimed + 32 * 4;
  ASSERT_EQ(journal_10.size(), recorded + 32);
  for (std::size_t i = journal_5.size(); i <= recorded; ++i)
    end_at(i, out_5.size(), errors_5.size());
  for (std::size_t i = out_5.size(); i <= out_10.size(); ++i) end_at(recorded, i, errors_5.size());
  for (std::size_t i = recorded; i <= journal_10.size(); ++i)
    end_at(i, out_10.size(), errors_5.size());
  for (std::size_t i = errors_5.size(); i <= errors_10.size(); ++i)
    end_at(journal_10.size(), out_10.size(), i);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(Journals, AHeaderThatIsTornIsWrittenAnew) {
  { Journal journal(options()); }
  const std::string whole = read("out.job");
  const std::size_t line = whole.find('\n') + 1;
  for (std::size_t i = 0; i < line; ++i) {
    std::filesystem::remove(path("out"));
    write("out.job", whole.substr(0, i));
    Journal journal(options());
    work(journal, 5, 5);
    expect_all(5);
    std::filesystem::remove(path("out.errors"));
  }
}

TEST_F(Journals, OtherOptionsAreRefusedByName) {
  { Journal journal(options({{"--beams", 3}, {"--prompt", "a"}, {"model", "x"}})); }
  EXPECT_EQ(refusal(options({{"--beams", 5}, {"--prompt", "a"}, {"model", "x"}})),
            "the job of " + path("out.job") +
                " was begun with --beams 3, not 5; give what it was begun with, or another output "
                "for another job");
  EXPECT_NE(refusal(options({{"--beams", 3}, {"model", "x"}})).find("--prompt \"a\", not null"),
            std::string::npos);
  EXPECT_NE(refusal(options({{"--beams", 3}, {"--prompt", "a"}, {"model", "x"}, {"more", 1}}))
                .find("more null, not 1"),
            std::string::npos);
  EXPECT_EQ(refusal(options({{"model", "x"}, {"--prompt", "a"}, {"--beams", 3}})), "none");
}

TEST_F(Journals, FilesOfOthersAreNotTouched) {
  write("out", "mine\n");
  EXPECT_NE(refusal(options()).find(path("out") + " exists, and " + path("out.job")),
            std::string::npos);
  EXPECT_EQ(read("out"), "mine\n");
  EXPECT_FALSE(std::filesystem::exists(path("out.job")));
  for (const char* other : {"mine\n", "{\"a\": 1}\n", "{}\n", "[1]\n", "\n"}) {
    write("out.job", other);
    EXPECT_NE(refusal(options()).find("is not the journal of a job"), std::string::npos) << other;
    EXPECT_EQ(read("out.job"), other);
  }
}

TEST_F(Journals, AnOutputThatWasChangedIsRefused) {
  {
    Journal journal(options());
    work(journal, 4, 2);
  }
  const std::string before = read("out");
  std::string changed = before;
  changed[before.find("picture 2") + 8] = 'X';
  write("out", changed);
  EXPECT_NE(refusal(options()).find("was changed since its job wrote it, at byte " +
                                    std::to_string(before.find("picture 2"))),
            std::string::npos);
  EXPECT_EQ(read("out"), changed);
}

TEST_F(Journals, WhatPowerLeavesIsDoneAgain) {
  {
    Journal journal(options());
    work(journal, 4, 2);
  }
  const std::string out = read("out"), job = read("out.job");
  // Rows that had not reached the disk read as zeros, and so do records.
  for (const std::size_t zeros : {1u, 5u, 11u, 20u, 40u}) {
    std::string cut = out;
    cut.replace(cut.size() - zeros, zeros, zeros, '\0');
    write("out", cut);
    write("out.job", job);
    Journal journal(options());
    work(journal, 4, 4);
    expect_all(4);
  }
  for (const std::size_t zeros : {1u, 31u, 32u, 33u, 100u}) {
    std::string cut = job;
    cut.replace(cut.size() - zeros, zeros, zeros, '\0');
    write("out", out);
    write("out.job", cut);
    Journal journal(options());
    work(journal, 4, 4);
    expect_all(4);
  }
}

TEST_F(Journals, AnOutputThatWasRemovedIsMadeAgain) {
  {
    Journal journal(options());
    work(journal, 12, 5);
  }
  std::filesystem::remove(path("out"));
  {
    Journal journal(options());
    EXPECT_EQ(journal.done(), 0u);
    journal.forget_failures();
    work(journal, 12, 5);
  }
  expect_all(12);
  // The errors alone: those that are not known any more are found again.
  std::filesystem::remove(path("out.errors"));
  Journal journal(options());
  EXPECT_EQ(journal.done(), 10u);
  journal.forget_failures();
  work(journal, 12, 5);
  expect_all(12);
}

TEST_F(Journals, WhatSomebodyAppendedIsKeptBesideIt) {
  {
    Journal journal(options());
    work(journal, 4, 2);
  }
  write("out", read("out") + "by hand\n");
  Journal journal(options());
  work(journal, 6, 2);
  expect_all(6);
  EXPECT_EQ(read("out.cut"), "by hand\n");
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_NE(notices_[0].find("moved to " + path("out.cut")), std::string::npos);
}

TEST_F(Journals, RowsBehindADamagedRecordAreKeptBesideIt) {
  {
    Journal journal(options());
    work(journal, 4, 4);
  }
  const std::string out = read("out");
  std::string job = read("out.job");
  job[job.size() - 2 * 32 + 5] ^= 1;  // that of the third picture
  write("out.job", job);
  Journal journal(options());
  EXPECT_EQ(journal.done(), 2u);
  work(journal, 4, 4);
  expect_all(4);
  EXPECT_EQ(read("out.cut"), out.substr(out.find(row(2).text)));
  ASSERT_EQ(notices_.size(), 2u);
  EXPECT_NE(notices_[0].find("out.job is damaged at byte " + std::to_string(job.size() - 2 * 32)),
            std::string::npos);
  EXPECT_NE(notices_[1].find("moved to " + path("out.cut")), std::string::npos);
}

TEST_F(Journals, ErrorsOfOtherJobsAreKept) {
  JournalOptions with = options();
  with.errors = {path("out.errors"), path("own.errors")};
  write("out.errors", "another's\n");
  {
    Journal journal(with);
    work(journal, 5, 5);
  }
  EXPECT_EQ(read("out.errors"), "another's\n");
  EXPECT_EQ(read("own.errors"), row(4).text);
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_NE(notices_[0].find("failures go to " + path("own.errors")), std::string::npos);
  // It goes on where it began, whatever has become of the other.
  std::filesystem::remove(path("out.errors"));
  {
    Journal journal(with);
    work(journal, 10, 5);
  }
  EXPECT_EQ(read("own.errors"), row(4).text + row(9).text);
  // Of a job that has not failed yet there is nothing to be seen in the file.
  for (const char* file : {"out", "out.job", "own.errors"}) std::filesystem::remove(path(file));
  with.first_is_taken = true;
  { work(*std::make_unique<Journal>(with), 5, 5); }
  EXPECT_EQ(read("own.errors"), row(4).text);
  for (const char* file : {"out", "out.job"}) std::filesystem::remove(path(file));
  EXPECT_NE(refusal(with).find(path("out.errors") + " exists"), std::string::npos);
  EXPECT_EQ(read("own.errors"), row(4).text);
}

TEST_F(Journals, WorkersShareWhatIsFree) {
  auto first = std::make_unique<Journal>(options());
  Journal second(options());
  const std::vector<Key> keys = {key_of(name(0)), key_of(name(1)), key_of(name(2))};
  const std::span<const Key> all(keys);
  EXPECT_EQ(first->claim(all.first(2)), (std::vector{State::kFree, State::kFree}));
  EXPECT_EQ(second.claim(all), (std::vector{State::kElsewhere, State::kElsewhere, State::kFree}));
  first->commit({row(0)});
  EXPECT_EQ(second.claim(all.first(2)), (std::vector{State::kDone, State::kElsewhere}));
  // What a worker that has ended had claimed is free.
  first.reset();
  EXPECT_EQ(second.claim(all.subspan(1, 1)), std::vector{State::kFree});
  second.commit({row(1), row(2)});
  // Its slot is another's now, whose claims are its own.
  Journal third(options());
  EXPECT_EQ(third.claim(all), (std::vector{State::kDone, State::kDone, State::kDone}));
  expect_all(3);
}

TEST_F(Journals, ARowOfAPictureThatHasOneIsDropped) {
  Journal first(options()), second(options());
  first.commit({row(0), row(1)});
  second.commit({row(1), row(2)});
  first.commit({row(2), row(2)});
  expect_all(3);
}

TEST_F(Journals, RowsAreFoundByTheirKeys) {
  { work(*std::make_unique<Journal>(options()), 7, 3); }
  Journal journal(options());
  work(journal, 20, 4);
  const Journal::Rows rows(journal);
  for (int i = 0; i < 25; ++i) {
    const bool there = i < 20 && !row(i).failed;
    EXPECT_EQ(rows.find(key_of(name(i))), there ? std::optional(row(i).text) : std::nullopt) << i;
  }
}

TEST_F(Journals, FailuresAreTriedAgainWhenAsked) {
  Journal journal(options());
  work(journal, 10, 10);
  EXPECT_EQ(journal.failed(), 2u);
  EXPECT_EQ(journal.claim(std::vector{key_of(name(4))}), std::vector{State::kFailed});
  journal.forget_failures();
  EXPECT_EQ(read("out.errors"), "");
  EXPECT_EQ(journal.claim(std::vector{key_of(name(4))}), std::vector{State::kFree});
  Row good = row(4);
  good.failed = false;
  journal.commit({good});
  EXPECT_EQ(journal.done(), 9u);
  EXPECT_NE(read("out").find(good.text), std::string::npos);
  Journal again(options());
  EXPECT_EQ(again.failed(), 0u);
  EXPECT_EQ(again.done(), 9u);
}

TEST_F(Journals, IntentsAreKnownUntilTheyAreDone) {
  { Journal(options()).intend({{key_of("a"), digest("text")}}); }
  Journal journal(options());
  EXPECT_TRUE(journal.was_intended(key_of("a"), digest("text")));
  EXPECT_FALSE(journal.was_intended(key_of("a"), digest("other")));
  EXPECT_FALSE(journal.was_intended(key_of("b"), digest("text")));
  journal.commit({{key_of("a"), false, "a\n"}});
  EXPECT_FALSE(journal.was_intended(key_of("a"), digest("text")));
}

// A limit on the size of files stands for a full disk: what fits is kept whole.
TEST_F(Journals, WhatWasMadeOfRowsIsReplacedWhereItIsAsTheJobWroteItAlone) {
  const auto derive = [this](const std::string& role, const std::string& text) {
    Journal journal(options());
    DerivedFile file(journal, role, path("sum"));
    file.write(text.substr(0, 2));
    file.write(text.substr(2));
    file.commit();
  };
  derive("a", "first");
  EXPECT_EQ(read("sum"), "first");
  derive("a", "second");
  EXPECT_EQ(read("sum"), "second");
  write("sum", "first");  // as it was before the last process renamed its own
  derive("a", "third");
  EXPECT_EQ(read("sum"), "third");
  EXPECT_NE(message_of([&] { derive("b", "fourth"); }).find("not as this job wrote it"),
            std::string::npos);
  write("sum", "edited");
  EXPECT_NE(message_of([&] { derive("a", "third"); }).find(path("sum") + " exists, and is not as"),
            std::string::npos);
  EXPECT_EQ(read("sum"), "edited");
}

TEST_F(Journals, ACommandThatDidNothingLeavesNothing) {
  const auto begin_and_refuse = [this] { Journal(options()).remove_unused(); };
  begin_and_refuse();
  for (const char* file : {"out", "out.job", "out.errors"})
    EXPECT_FALSE(std::filesystem::exists(path(file))) << file;
  write("out.errors", "");
  begin_and_refuse();
  EXPECT_TRUE(std::filesystem::exists(path("out.errors")));  // was there before
  {
    Journal one(options());
    begin_and_refuse();
    EXPECT_TRUE(std::filesystem::exists(path("out.job")));  // another worker goes on
    work(one, 1, 1);
    one.remove_unused();
  }
  begin_and_refuse();
  Journal again(options());
  EXPECT_EQ(again.done(), 1u);
}

TEST_F(Journals, AFullDiskLosesNothing) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {100u, 250u, 300u, 420u, 500u, 900u}) {
    for (const char* file : {"out", "out.job", "out.errors"}) std::filesystem::remove(path(file));
    const rlimit small{limit, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    std::string message;
    try {
      Journal journal(options());
      work(journal, 60, 7);
    } catch (const Error& error) {
      message = error.what();
    }
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_NE(message.find("File too large"), std::string::npos) << limit << message;
    Journal journal(options());
    work(journal, 60, 7);
    expect_all(60);
  }
  std::signal(SIGXFSZ, old);
}

TEST_F(Journals, AMillionRowsAreReadInTheTimeOfALoadedModel) {
  constexpr int kRows = 1'000'000, kPiece = 10'000;
  const std::string text(200, 'x');
  {
    Journal journal(options());
    for (int begin = 0; begin < kRows; begin += kPiece) {
      std::vector<Row> rows;
      for (int i = begin; i < begin + kPiece; ++i)
        rows.push_back({key_of(name(i)), false, text + name(i) + "\n"});
      journal.commit(std::move(rows));
    }
  }
  const auto started = std::chrono::steady_clock::now();
  Journal journal(options());
  for (int i = 0; i < kRows; i += 1000) EXPECT_EQ(journal.state(key_of(name(i))), State::kDone);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  EXPECT_EQ(journal.done(), static_cast<std::uint64_t>(kRows));
  EXPECT_LT(seconds.count(), 3) << "slow under sanitizers alone";
}

}  // namespace
}  // namespace blip::jobs
