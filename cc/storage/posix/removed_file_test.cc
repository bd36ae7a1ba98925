#include "storage/posix/removed_file.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "core/testing/testing.h"
#include "storage/testing/testing_directory.h"

namespace autodist {
namespace {

using testing::TemporaryDirectory;

constexpr size_t kLarge = 16 << 20;

void Write(const std::string& path, size_t size) {
  std::ofstream(path, std::ios::binary) << std::string(size, 'x');
}

// Whether a part of the file is mapped into this process, also if its name is gone.
bool IsMapped(const std::string& path) {
  std::ifstream file("/proc/self/maps");
  const std::string maps((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return maps.find(path) != std::string::npos;
}

TEST(TheNameGoesAtOnceAndTheFileAfterIt) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  Write(path, kLarge);
  RemovedFile removed(AT_FDCWD, path);
  EXPECT_TRUE(IsMapped(path));
  EXPECT_EQ(unlink(path.c_str()), 0);
  EXPECT_TRUE(directory.Names().empty());
  EXPECT_TRUE(IsMapped(path));
  removed.LetGo();
  AwaitRemovedFiles();
  EXPECT_TRUE(!IsMapped(path));
  EXPECT_TRUE(!AwaitRemovedFiles());
}

TEST(WithoutLettingGoTheDestructorWaits) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  Write(path, kLarge);
  {
    const RemovedFile removed(AT_FDCWD, path);
  }
  EXPECT_TRUE(!IsMapped(path));
  EXPECT_TRUE(!AwaitRemovedFiles());
}

TEST(WhatIsNotFreedWithTheNameIsLeftAlone) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  Write(path, kLarge);
  Write(path + ".small", 1000);
  EXPECT_EQ(link(path.c_str(), (path + ".link").c_str()), 0);
  EXPECT_EQ(symlink(path.c_str(), (path + ".symlink").c_str()), 0);
  for (const char* suffix : {"", ".small", ".link", ".symlink", ".none", "/.."}) {
    RemovedFile removed(AT_FDCWD, path + suffix);
    EXPECT_TRUE(!IsMapped(path));
    removed.LetGo();
    EXPECT_TRUE(!AwaitRemovedFiles());
  }
}

TEST(AChildKeepsNothingOfTheFileAndWaitsForNoThread) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  Write(path, kLarge);
  RemovedFile removed(AT_FDCWD, path);
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(IsMapped(path) || AwaitRemovedFiles());
    int status;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    removed.LetGo();
  }
  AwaitRemovedFiles();
}

TEST(OnlyAFullFileSystemMayHaveSpaceLater) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(!HasSpaceNow(ENOSPC));
  for (const int error : {ENOSPC, EDQUOT, EIO}) {
    const std::string path = directory.path() + "/file";
    Write(path, 8 * kLarge);
    RemovedFile removed(AT_FDCWD, path);
    unlink(path.c_str());
    removed.LetGo();
    // Unless it was freed before the question.
    if (error == EIO) EXPECT_TRUE(!HasSpaceNow(error));
    if (error != EIO && HasSpaceNow(error)) EXPECT_TRUE(!IsMapped(path));
    AwaitRemovedFiles();
  }
}

}  // namespace
}  // namespace autodist
