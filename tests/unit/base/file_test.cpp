#include "base/file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "support.h"

namespace blip {
namespace {

TEST(MappedFile, HoldsTheBytes) {
  const TempFolder folder;
  write_plain(folder / "a", "hello");
  const MappedFile file(folder / "a");
  EXPECT_EQ(Bytes(file.bytes().begin(), file.bytes().end()), to_bytes("hello"));
}

TEST(MappedFile, EmptyFileIsEmpty) {
  const TempFolder folder;
  write_plain(folder / "a", "");
  EXPECT_TRUE(MappedFile(folder / "a").bytes().empty());
}

TEST(MappedFile, SaysWhatIsWrong) {
  const TempFolder folder;
  expect_error(ErrorCode::kIo, {"cannot open", folder / "none", "No such file"},
               [&] { MappedFile(folder / "none"); });
  expect_error(ErrorCode::kIo, {folder.path().string(), "directory"},
               [&] { MappedFile(folder.path().string()); });
  expect_error(ErrorCode::kIo, {"path is empty"}, [] { MappedFile(""); });
  expect_error(ErrorCode::kIo, {"zero byte"},
               [&] { MappedFile((folder / "a") + std::string("\0b", 2)); });
  expect_error(ErrorCode::kIo, {"regular file"}, [] { MappedFile("/dev/null"); });
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  // and does not wait for a writer
  expect_error(ErrorCode::kIo, {"regular file"}, [&] { MappedFile(folder / "pipe"); });
}

TEST(ReadFile, ReadsFilesOfAnySize) {
  const TempFolder folder;
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 65537u, 300000u}) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7);
    write_plain(folder / "a", text);
    EXPECT_EQ(read_text(folder / "a"), text);
    EXPECT_EQ(read_file(folder / "a", size), to_bytes(text));
    if (size > 1) {
      expect_error(ErrorCode::kIo,
                   {"cannot read", folder / "a", "limit of " + std::to_string(size - 1)},
                   [&] { read_file(folder / "a", size - 1); });
    }
  }
}

TEST(ReadFile, FilesWithoutSize) {
  EXPECT_FALSE(read_text("/proc/self/maps").empty());
  expect_error(ErrorCode::kIo, {"/dev/zero", "limit of 1000000"},
               [] { read_file("/dev/zero", 1'000'000, FileKind::kAny); });
}

TEST(ReadFile, PipesAndDevicesAreRefusedUnlessAskedFor) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const std::string& path :
       {folder / "pipe", std::string("/dev/zero"), std::string("/dev/null")}) {
    expect_error(ErrorCode::kIo, {"cannot open " + path, "it is not a regular file"},
                 [&] { read_file(path); });
  }
  EXPECT_EQ(read_text("/dev/null", 0, FileKind::kAny), "");
}

TEST(MappedFile, ReadsZerosWhereTheFileWasCutAndSaysSo) {
  const TempFolder folder;
  constexpr std::size_t kSize = 1 << 20;
  std::ofstream(folder / "a") << std::string(kSize, 'x');
  std::ofstream(folder / "b") << std::string(kSize, 'y');
  const MappedFile file(folder / "a"), other(folder / "b");
  EXPECT_NO_THROW(file.check_unchanged());
  std::filesystem::resize_file(folder / "a", 5000);
  std::size_t sum = 0;
  for (const std::byte byte : file.bytes()) sum += byte == std::byte{'x'} ? 1 : 0;
  EXPECT_EQ(sum, 5000u);
  EXPECT_EQ(file.bytes()[kSize - 1], std::byte{0});
  expect_error(ErrorCode::kIo, {folder / "a", "changed while it was read"},
               [&] { file.check_unchanged(); });
  EXPECT_EQ(other.bytes()[kSize - 1], std::byte{'y'});
  EXPECT_NO_THROW(other.check_unchanged());
}

// Not watched by the thread sanitizer, which takes the signal handler's mapping of zeros for writes
// to every byte.
__attribute__((no_sanitize("thread"))) char read_byte(std::span<const std::byte> bytes,
                                                      std::size_t at) {
  return static_cast<char>(*(bytes.data() + at));
}

TEST(MappedFile, SurvivesAFileThatIsCutWhileThreadsReadIt) {
  const TempFolder folder;
  constexpr std::size_t kSize = 8 << 20;
  for (int round = 0; round < 5; ++round) {
    std::ofstream(folder / "a") << std::string(kSize, 'x');
    const MappedFile file(folder / "a");
    std::atomic<bool> stop = false;
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&] {
        while (!stop) {
          for (std::size_t at = 0; at < kSize; at += 4096) {
            const char value = read_byte(file.bytes(), at);
            if (value != 'x' && value != 0) std::abort();
          }
        }
      });
    }
    std::filesystem::resize_file(folder / "a", static_cast<std::uintmax_t>(round) << 20);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop = true;
    for (std::thread& reader : readers) reader.join();
    expect_error(ErrorCode::kIo, {"changed while it was read"}, [&] { file.check_unchanged(); });
  }
}

volatile std::sig_atomic_t bus_errors = 0;

TEST(MappedFile, GivesOtherHandlersTheirSignals) {
  struct sigaction mine {
  }, before{}, after{};
  mine.sa_handler = [](int) { bus_errors = bus_errors + 1; };
  ASSERT_EQ(::sigaction(SIGBUS, &mine, &before), 0);
  {
    const TempFolder folder;
    std::ofstream(folder / "a") << "x";
    const MappedFile file(folder / "a");
    ::raise(SIGBUS);  // of no mapping of ours
    EXPECT_EQ(bus_errors, 1);
  }
  ASSERT_EQ(::sigaction(SIGBUS, &before, &after), 0);
  EXPECT_EQ(after.sa_handler, mine.sa_handler);  // given back with the last mapping
}

TEST(ReadFile, SaysWhatIsWrong) {
  const TempFolder folder;
  expect_error(ErrorCode::kIo, {"cannot open", "none", "No such file"},
               [&] { read_file(folder / "none"); });
  expect_error(ErrorCode::kIo, {"cannot read", "directory"},
               [&] { read_file(folder.path().string()); });
}

using Temporary = AtomicFile::Temporary;

class AtomicFiles : public testing::TestWithParam<Temporary> {};
INSTANTIATE_TEST_SUITE_P(Temporaries, AtomicFiles,
                         testing::Values(Temporary::kNameless, Temporary::kNamed));

TEST_P(AtomicFiles, AppearOnCommitOnly) {
  const TempFolder folder;
  {
    AtomicFile file(folder / "a", GetParam());
    file.write("one ");
    file.write(to_bytes("two"));
    EXPECT_FALSE(std::filesystem::exists(folder / "a"));
    file.commit();
    expect_error(ErrorCode::kIo, {"already complete"}, [&] { file.write("more"); });
    expect_error(ErrorCode::kIo, {"already complete"}, [&] { file.commit(); });
  }
  EXPECT_EQ(read_text(folder / "a"), "one two");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST_P(AtomicFiles, LeaveNothingWithoutCommit) {
  const TempFolder folder;
  write_plain(folder / "a", "before");
  {
    AtomicFile file(folder / "a", GetParam());
    file.write("after");
    // Besides itself, only a file whose name says what it is.
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      EXPECT_NE(entry.path().filename() == "a",
                AtomicFile::is_temporary(entry.path().filename().string()));
  }
  EXPECT_EQ(read_text(folder / "a"), "before");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, TellsTemporariesByTheirNames) {
  EXPECT_TRUE(AtomicFile::is_temporary("a.png.0123456789abcdef.tmp"));
  for (const char* name :
       {"a.tmp", "a.png", ".0123456789abcdef.tmp", "0123456789abcdef.tmp", "a.0123456789abcdeF.tmp",
        "a.0123456789abcde.tmp", "a0123456789abcdef.tmp", ""})
    EXPECT_FALSE(AtomicFile::is_temporary(name)) << name;
}

TEST(AtomicFile, ReplacesKeepingPermissionsAndLinks) {
  const TempFolder folder;
  write_plain(folder / "real", "before");
  std::filesystem::permissions(folder / "real", std::filesystem::perms::owner_all);
  std::filesystem::create_symlink("real", folder / "link");
  AtomicFile file(folder / "link");
  file.write("after");
  file.commit();
  EXPECT_EQ(read_text(folder / "real"), "after");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(std::filesystem::status(folder / "real").permissions(),
            std::filesystem::perms::owner_all);
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(AtomicFile, LongestNameFits) {
  const TempFolder folder;
  const std::string path = folder / std::string(255, 'n');
  AtomicFile file(path);
  file.write("x");
  file.commit();
  EXPECT_EQ(read_text(path), "x");
}

TEST(AtomicFile, RefusesWhatIsNoFile) {
  const TempFolder folder;
  std::filesystem::create_symlink("nowhere", folder / "link");
  expect_error(ErrorCode::kIo, {"cannot write", "/dev/full", "regular file"},
               [] { AtomicFile("/dev/full"); });
  expect_error(ErrorCode::kIo, {"cannot write", "directory"},
               [&] { AtomicFile(folder.path().string()); });
  expect_error(ErrorCode::kIo, {"directory"}, [&] { AtomicFile(folder / "none/"); });
  expect_error(ErrorCode::kIo, {"No such file"}, [&] { AtomicFile(folder / "none/a"); });
  expect_error(ErrorCode::kIo, {"link to nothing"}, [&] { AtomicFile(folder / "link"); });
  expect_error(ErrorCode::kIo, {"path is empty"}, [] { AtomicFile(""); });
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(FullDisk, AtomicFileLeavesNothing) {
  const TempFolder folder;
  EXPECT_EQ(with_small_files([&] {
              AtomicFile file(folder / "a");
              for (int i = 0; i < 100; ++i) file.write(std::string(1000, 'x'));
              file.commit();
            }),
            0);
  EXPECT_EQ(folder.entries(), 0u);
}

}  // namespace
}  // namespace blip
