#include "storage/posix/posix_io.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "core/testing/testing.h"
#include "storage/final_status.h"
#include "storage/temporary_name.h"
#include "storage/testing/testing_directory.h"

namespace autodist {
namespace {

using testing::Contains;
using testing::ReadFile;
using testing::TemporaryDirectory;

absl::StatusOr<PosixFile> CreateFile(const std::string& path) {
  return PosixFile::Create(AT_FDCWD, path, path);
}

TEST(BytesLandAtTheirOffsetsFromAnyThread) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  const absl::StatusOr<PosixFile> file = CreateFile(path);
  EXPECT_TRUE(file.ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&file, i] {
      for (int block = i; block < 64; block += 4) {
        const std::string bytes(1000, static_cast<char>(block));
        EXPECT_TRUE(file->WriteAt(block * 1000, bytes).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(file->Sync().ok());
  std::string expected;
  for (int block = 0; block < 64; ++block) expected.append(1000, static_cast<char>(block));
  EXPECT_TRUE(ReadFile(path) == expected);
}

TEST(NoErrorOfAFileSystemIsTakenForTheEndOfTheDataOrALostTask) {
  for (int error = 1; error < 134; ++error) {
    const absl::Status status = PosixError("cannot write", "/ck/m", error);
    EXPECT_TRUE(!status.ok() && FinalStatus(status) == status);
    EXPECT_TRUE(!absl::IsOutOfRange(status) && !absl::IsAborted(status));
    EXPECT_TRUE(!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status));
    EXPECT_TRUE(Contains(status, "cannot write /ck/m: "));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(PosixError("", "m", EFBIG)));
  EXPECT_TRUE(absl::IsResourceExhausted(FinalStatus(absl::OutOfRangeError("as an object store"))));
  EXPECT_TRUE(absl::IsUnknown(FinalStatus(absl::AbortedError("All 10 retry attempts failed"))));
  EXPECT_TRUE(absl::IsNotFound(FinalStatus(absl::NotFoundError("m"))));
}

TEST(TemporaryNamesFitWhereTheirNamesFit) {
  const std::string letters = "\xc3\xa4";
  std::string name = ".index";
  for (int size = 6; size <= 255; size += 2, name = letters + name) {
    const std::string temporary = TemporaryName(name);
    EXPECT_TRUE(IsTemporaryName(temporary) && IsOfThisBoot(temporary));
    EXPECT_TRUE(temporary.size() <= std::max<size_t>(name.size(), 128));
    // Cut off between letters.
    EXPECT_TRUE(size < 128 || temporary.find(".autodist") % 2 == 0);
  }
}

TEST(AShortFileAndAnEmptyOne) {
  const TemporaryDirectory directory;
  const absl::StatusOr<PosixFile> file = CreateFile(directory.path() + "/file");
  EXPECT_TRUE(file->WriteAt(0, "").ok());
  EXPECT_TRUE(file->Reserve(0).ok());
  EXPECT_EQ(ReadFile(file->path()), "");
  EXPECT_TRUE(file->WriteAt(0, "ab").ok());
  EXPECT_TRUE(file->WriteAt(3, "d").ok());
  EXPECT_TRUE(ReadFile(file->path()) == std::string("ab\0d", 4));
}

TEST(AMissingDirectoryIsNotFound) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/missing/file";
  const absl::Status created = CreateFile(path).status();
  EXPECT_TRUE(absl::IsNotFound(created));
  EXPECT_TRUE(Contains(created, path));
}

TEST(AFileThatExistsIsLeftAlone) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  std::ofstream(path) << "kept";
  const absl::Status created = CreateFile(path).status();
  EXPECT_TRUE(absl::IsAlreadyExists(created));
  EXPECT_TRUE(Contains(created, path));
  EXPECT_EQ(ReadFile(path), "kept");
}

TEST(AMovedFileIsClosedOnce) {
  const TemporaryDirectory directory;
  absl::StatusOr<PosixFile> file = CreateFile(directory.path() + "/file");
  {
    const PosixFile moved(*std::move(file));
    EXPECT_TRUE(moved.WriteAt(0, "x").ok());
  }
  EXPECT_EQ(ReadFile(directory.path() + "/file"), "x");
}

// The limit on the size of files while it lives; exceeding it is an error, not a signal.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &saved_);
    rlimit limit = saved_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &saved_);
    signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit saved_;
  sighandler_t handler_;
};

TEST(AWriteThatIsCutShortGoesOnAndThenFails) {
  const TemporaryDirectory directory;
  const absl::StatusOr<PosixFile> file = CreateFile(directory.path() + "/file");
  absl::Status written;
  {
    const FileSizeLimit limit(4096);
    // The first pwrite writes up to the limit, the next fails.
    written = file->WriteAt(1000, std::string(8192, 'x'));
  }
  EXPECT_TRUE(!written.ok());
  EXPECT_TRUE(Contains(written, file->path()));
  EXPECT_TRUE(Contains(written, "offset 4096"));
  EXPECT_EQ(ReadFile(file->path()).size(), 4096u);
}

TEST(ASpaceThatCannotBeReservedIsFoundBeforeAnythingIsWritten) {
  const TemporaryDirectory directory;
  const absl::StatusOr<PosixFile> file = CreateFile(directory.path() + "/file");
  struct stat unwritten;
  absl::Status reserved;
  {
    const FileSizeLimit limit(4096);
    reserved = file->Reserve(1 << 20);
  }
  EXPECT_EQ(stat(file->path().c_str(), &unwritten), 0);
  // A file system in memory reserves nothing and does not fail either.
  EXPECT_TRUE(reserved.ok() || Contains(reserved, file->path()));
  EXPECT_EQ(unwritten.st_size, 0);
}

}  // namespace
}  // namespace autodist
