#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "core/testing/testing.h"
#include "storage/directory/save_directory.h"
#include "storage/directory/staged_file.h"
#include "storage/posix/posix_io.h"
#include "storage/posix/scratch_directory.h"
#include "storage/temporary_name.h"
#include "storage/testing/testing_directory.h"

namespace autodist {
namespace {

using testing::Contains;
using testing::ReadFile;
using testing::TemporaryDirectory;
using Names = std::vector<std::string>;

std::unique_ptr<SaveDirectory> Open(const std::string& directory) {
  return *SaveDirectory::OpenParent(directory + "/any");
}

// Calls `body` in a process that dies without any clean-up.
template <typename Body>
void InDyingProcess(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
}

void WriteFile(const std::string& path, const std::string& contents) {
  std::ofstream(path) << contents;
}

void CleanUp(const std::string& directory) {
  const auto opened = Open(directory);
  const auto names = opened->List();
  for (const std::string& name : *names) {
    if (IsTemporaryName(name)) opened->RemoveIfAbandoned(name);
  }
}

TEST(TemporaryNamesAreRecognised) {
  const std::string name = TemporaryName("m.index");
  EXPECT_TRUE(IsTemporaryName(name) && IsOfThisBoot(name));
  EXPECT_TRUE(name != TemporaryName("m.index"));
  EXPECT_TRUE(!IsOfThisBoot("m.index.autodist00000000-0123456789ab"));
  for (const char* other : {"", "m.index", ".autodist01234567-0123456789ab", "m.autodist",
                            "m.autodist01234567-0123456789aG", "m.autodist01234567_0123456789ab",
                            "m.autodist01234567-0123456789ab.meta"}) {
    EXPECT_TRUE(!IsTemporaryName(other));
  }
}

TEST(FilesOfADeadProcessAreRemovedAndThoseOfALivingOneStay) {
  const TemporaryDirectory directory;
  InDyingProcess([&] {
    const auto opened = Open(directory.path());
    StagedFile dead(opened.get(), false);
    dead.Create("dead").IgnoreError();
    _exit(0);
  });
  const auto opened = Open(directory.path());
  StagedFile living(opened.get(), false);
  EXPECT_EQ(living.Create("living"), absl::OkStatus());
  EXPECT_EQ(directory.Names().size(), 2u);
  InDyingProcess([&] { CleanUp(directory.path()); });
  EXPECT_EQ(directory.Names().size(), 1u);
  EXPECT_EQ(living.MoveTo("m"), absl::OkStatus());
  EXPECT_TRUE(directory.Names() == Names({"m"}));
}

TEST(FilesOfAnotherKernelStayForAnHour) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/m.autodistffffffff-0123456789ab";
  WriteFile(path, "");
  CleanUp(directory.path());
  EXPECT_EQ(directory.Names().size(), 1u);
  const utimbuf long_ago = {time(nullptr) - 4000, time(nullptr) - 4000};
  utime(path.c_str(), &long_ago);
  CleanUp(directory.path());
  EXPECT_EQ(directory.Names().size(), 0u);
}

TEST(LinksAndPipesStayAndScratchDirectoriesOfTheDeadGo) {
  const TemporaryDirectory directory;
  WriteFile(directory.path() + "/target", "kept");
  const std::string link = directory.path() + "/" + TemporaryName("link");
  EXPECT_EQ(symlink("target", link.c_str()), 0);
  const std::string abandoned = directory.path() + "/" + TemporaryName("abandoned");
  EXPECT_EQ(mkdir(abandoned.c_str(), 0777), 0);
  WriteFile(abandoned + "/part", "of a dead saver");
  ScratchDirectory held;
  EXPECT_EQ(held.Create(directory.path(), TemporaryName("held")), absl::OkStatus());
  EXPECT_EQ(mkfifo((directory.path() + "/" + TemporaryName("pipe")).c_str(), 0666), 0);
  CleanUp(directory.path());
  // All but the abandoned one: what the link leads to, the link, the pipe, the one that is held.
  EXPECT_EQ(directory.Names().size(), 4u);
  EXPECT_TRUE(access(abandoned.c_str(), F_OK) != 0);
}

TEST(ADirectoryThatWasMovedAwayIsNotWrittenToAndNothingIsLeftInIt) {
  const TemporaryDirectory parent;
  const std::string path = parent.path() + "/ckpt";
  for (const bool is_replaced : {false, true}) {
    std::filesystem::create_directory(path);
    const auto opened = Open(path);
    absl::Status moved;
    {
      StagedFile file(opened.get(), true);
      EXPECT_EQ(file.Create("m"), absl::OkStatus());
      std::filesystem::rename(path, path + "-old");
      if (is_replaced) std::filesystem::create_directory(path);
      moved = file.MoveTo("m");
    }
    EXPECT_TRUE(is_replaced ? absl::IsFailedPrecondition(moved) : absl::IsNotFound(moved));
    EXPECT_TRUE(Contains(moved, path));
    EXPECT_TRUE(std::filesystem::is_empty(path + "-old"));
    std::filesystem::remove(path + "-old");
    if (is_replaced) EXPECT_TRUE(std::filesystem::is_empty(path));
  }
}

TEST(ADirectoryThatIsGoneIsNotFound) {
  const TemporaryDirectory parent;
  const std::string path = parent.path() + "/ckpt";
  std::filesystem::create_directory(path);
  const auto opened = Open(path);
  std::filesystem::remove(path);
  StagedFile file(opened.get(), true);
  const absl::Status created = file.Create("m");
  EXPECT_TRUE(absl::IsNotFound(created));
  EXPECT_TRUE(Contains(created, path));
}

TEST(NoDirectoryAndAFileInItsPlace) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(absl::IsNotFound(SaveDirectory::OpenParent(directory.path() + "/a/m").status()));
  WriteFile(directory.path() + "/file", "");
  const auto opened = SaveDirectory::OpenParent(directory.path() + "/file/m");
  EXPECT_TRUE(!opened.ok() && Contains(opened.status(), directory.path() + "/file"));
}

TEST(PathsInTwo) {
  EXPECT_EQ(SplitPath("/a/b").directory(), "/a");
  EXPECT_EQ(SplitPath("/a").directory(), "/");
  EXPECT_EQ(SplitPath("a").directory(), "");
  EXPECT_EQ(SplitPath("a//b").directory(), "a");
  EXPECT_EQ(SplitPath("a/").name, "");
  EXPECT_EQ(PosixPath("file:///a/b"), "/a/b");
  EXPECT_EQ(PosixPath("ram://a/b"), "");
}

TEST(AFileThatMayNotGrowIsAnErrorAndNoSignal) {
  const TemporaryDirectory directory;
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_DFL);
    const rlimit limit = {1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    bool is_error = false;
    {
      const FileSizeErrors errors;
      const auto opened = Open(directory.path());
      StagedFile file(opened.get(), true);
      file.Create("m").IgnoreError();
      std::thread([&] {
        is_error = absl::IsResourceExhausted(file.file().WriteAt(0, std::string(2000, 'x')));
      }).join();
      is_error = is_error && !file.file().WriteAt(0, std::string(2000, 'x')).ok();
    }
    _exit(is_error ? 0 : 1);
  }
  int status;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(directory.Names().size(), 0u);
}

}  // namespace
}  // namespace autodist
