#include "storage/posix/direct_writes.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/testing/testing.h"
#include "storage/directory/save_directory.h"
#include "storage/testing/testing_directory.h"

namespace autodist {
namespace {

using testing::Contains;
using testing::ReadFile;
using testing::TemporaryDirectory;

constexpr int64_t kMebibyte = int64_t{1} << 20;

std::string NoisyBytes(int64_t size) {
  std::mt19937 random(static_cast<uint32_t>(size));
  std::string bytes(size, 0);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// A file with its second way in; null where the file system has none.
struct DirectFile {
  explicit DirectFile(const std::string& path, int64_t size)
      : file(*PosixFile::Create(AT_FDCWD, path, path)),
        direct(DirectWrites::Open(AT_FDCWD, path, &file, size)) {}

  PosixFile file;
  std::unique_ptr<DirectWrites> direct;
};

// Pieces of a file: pairs of offset and size, in the order in which threads take them.
std::vector<std::pair<int64_t, int64_t>> Pieces(int64_t size, int64_t most, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::pair<int64_t, int64_t>> pieces;
  for (int64_t offset = 0; offset < size;) {
    const int64_t piece = std::min<int64_t>(size - offset, 1 + random() % most);
    pieces.emplace_back(offset, piece);
    offset += piece;
  }
  // Not quite in order, as several threads are.
  for (size_t i = 0; i + 4 < pieces.size(); i += 4) {
    std::shuffle(pieces.begin() + i, pieces.begin() + i + 4, random);
  }
  return pieces;
}

TEST(PiecesOfAnySizeBecomeTheFile) {
  for (const int64_t size : {int64_t{1}, int64_t{4095}, int64_t{4096}, kMebibyte - 1, kMebibyte,
                             kMebibyte + 1, 9 * kMebibyte + 5000}) {
    for (const int64_t most : {int64_t{3000}, kMebibyte + 17, 3 * kMebibyte}) {
      const TemporaryDirectory directory;
      const std::string path = directory.path() + "/file";
      const std::string bytes = NoisyBytes(size);
      DirectFile to(path, size);
      if (to.direct == nullptr) return;
      const auto pieces = Pieces(size, most, 5);
      std::atomic<size_t> next{0};
      std::atomic<int> failures{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
          for (size_t at = next++; at < pieces.size(); at = next++) {
            const auto [offset, length] = pieces[at];
            const std::string piece = bytes.substr(offset, length);
            failures += !to.direct->WriteAt(offset, piece).ok();
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_EQ(failures.load(), 0);
      EXPECT_TRUE(to.direct->Flush().ok());
      EXPECT_TRUE(to.file.Sync().ok());
      EXPECT_TRUE(ReadFile(path) == bytes);
    }
  }
}

TEST(AWriteThatFailsIsAnErrorWithThePath) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  const FileSizeErrors errors;
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit = {static_cast<rlim_t>(3 * kMebibyte), before.rlim_max};
  DirectFile to(path, 20 * kMebibyte);
  if (to.direct == nullptr) return;
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string block(kMebibyte, 'a');
  absl::Status status;
  for (int64_t i = 0; i < 20 && status.ok(); ++i) {
    status = to.direct->WriteAt(i * kMebibyte, block);
  }
  if (status.ok()) status = to.direct->Flush();
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(absl::IsResourceExhausted(status) && Contains(status, path));
  // Neither is anything left to wait for.
  EXPECT_TRUE(!to.direct->Flush().ok());
}

TEST(BytesThatNeverCameAreAnError) {
  const TemporaryDirectory directory;
  DirectFile to(directory.path() + "/file", 2 * kMebibyte);
  if (to.direct == nullptr) return;
  EXPECT_TRUE(to.direct->WriteAt(0, std::string(100, 'a')).ok());
  EXPECT_TRUE(Contains(to.direct->Flush(), "only 100 were written"));
  EXPECT_TRUE(absl::IsInternal(to.direct->WriteAt(2 * kMebibyte, "a")));
}

TEST(WhatIsOnItsWayEndsWithTheObject) {
  const TemporaryDirectory directory;
  for (int i = 0; i < 20; ++i) {
    DirectFile to(directory.path() + "/file" + std::to_string(i), 8 * kMebibyte);
    if (to.direct == nullptr) return;
    for (int64_t block = 0; block < 6; ++block) {
      EXPECT_TRUE(to.direct->WriteAt(block * kMebibyte, std::string(kMebibyte, 'a')).ok());
    }
  }
}

TEST(ADirectoryWritesItsFilesInThatWayIfItIsTold) {
  const TemporaryDirectory directory;
  const std::string bytes = NoisyBytes(5 * kMebibyte + 123);
  for (const char* setting : {"always", "never", "auto"}) {
    setenv("AUTODIST_DIRECT_WRITES", setting, 1);
    auto opened = *OpenPosixDirectory(directory.path());
    auto file = *opened->Create(setting);
    EXPECT_TRUE(file->Reserve(bytes.size()).ok());
    file->WriteDirectly(bytes.size());
    for (size_t offset = 0; offset < bytes.size(); offset += 700001) {
      EXPECT_TRUE(file->WriteAt(offset, absl::string_view(bytes).substr(offset, 700001)).ok());
    }
    EXPECT_TRUE(file->Sync().ok() && file->Finish().ok());
    EXPECT_TRUE(ReadFile(directory.path() + "/" + setting) == bytes);
  }
  unsetenv("AUTODIST_DIRECT_WRITES");
}

}  // namespace
}  // namespace autodist
