#include "bundle/name_lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "bundle/prefix_lock.h"
#include "bundle/save_directory.h"
#include "bundle/testing_directory.h"
#include "core/testing.h"

namespace autodist {
namespace {

using testing::TemporaryDirectory;
using Names = std::vector<std::string>;

bool Contains(const absl::Status& status, const std::string& text) {
  return std::string(status.message()).find(text) != std::string::npos;
}

TEST(ASecondLockIsRefusedAndSaysWhoHasTheFirst) {
  const TemporaryDirectory directory;
  const std::string prefix = directory.path() + "/m";
  {
    const auto first = PrefixLock::Acquire(prefix, true);
    EXPECT_EQ(first.status(), absl::OkStatus());
    EXPECT_TRUE((*first)->excludes_processes());
    const absl::Status second = PrefixLock::Acquire(prefix, true).status();
    EXPECT_TRUE(absl::IsAlreadyExists(second));
    EXPECT_TRUE(Contains(second, prefix));
    EXPECT_TRUE(Contains(second, "process " + std::to_string(getpid()) + " on "));
    EXPECT_EQ(PrefixLock::Acquire(directory.path() + "/other", true).status(), absl::OkStatus());
  }
  EXPECT_TRUE(directory.Names().empty());
  EXPECT_EQ(PrefixLock::Acquire(prefix, true).status(), absl::OkStatus());
}

TEST(ALockEndsWithItsProcessEvenIfAChildOfThatLives) {
  const TemporaryDirectory directory;
  const std::string prefix = directory.path() + "/m";
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    const auto lock = PrefixLock::Acquire(prefix, true);
    const pid_t child = fork();
    if (child > 0 && write(ready[1], &child, sizeof(child)) < 0) _exit(1);
    while (true) pause();
  }
  pid_t child;
  EXPECT_EQ(read(ready[0], &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  EXPECT_TRUE(absl::IsAlreadyExists(PrefixLock::Acquire(prefix, true).status()));
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  EXPECT_EQ(directory.Names().size(), size_t{1});
  EXPECT_EQ(PrefixLock::Acquire(prefix, true).status(), absl::OkStatus());
  EXPECT_TRUE(directory.Names().empty());
  kill(child, SIGKILL);
  for (int file : ready) close(file);
}

TEST(ALeftLockIsRemovedBySavesOfOtherPrefixesAndAHeldOneStays) {
  const TemporaryDirectory directory;
  const std::string left = directory.path() + "/dead.autodist00000000-000000000000";
  std::ofstream(left) << "process 1 on nowhere";
  const auto held = PrefixLock::Acquire(directory.path() + "/m", true);
  const auto opened = OpenPosixDirectory(directory.path());
  const auto names = (*opened)->List();
  for (const std::string& name : *names) {
    if (IsLockName(name)) (*opened)->RemoveIfAbandoned(name);
  }
  EXPECT_TRUE(directory.Names() == Names({"m.autodist00000000-000000000000"}));
}

TEST(NeverTwoHoldALock) {
  const TemporaryDirectory directory;
  const std::string prefix = directory.path() + "/m";
  std::atomic<int> holders{0}, taken{0}, most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        const auto lock = PrefixLock::Acquire(prefix, false);
        if (!lock.ok()) continue;
        ++taken;
        if (const int now = ++holders; now > most) most = now;
        std::this_thread::yield();
        --holders;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most.load(), 1);
  EXPECT_TRUE(taken > 0);
  EXPECT_TRUE(directory.Names().empty());
}

TEST(AMissingDirectoryIsMadeAndRemovedIfNothingCameIntoIt) {
  const TemporaryDirectory directory;
  const std::string made = directory.path() + "/new";
  {
    EXPECT_EQ(PrefixLock::Acquire(made + "/m", true).status(), absl::OkStatus());
  }
  EXPECT_TRUE(directory.Names().empty());
  {
    const auto lock = PrefixLock::Acquire(made + "/m", true);
    std::ofstream(made + "/kept") << "something";
  }
  EXPECT_TRUE(directory.Names() == Names({"new"}));
  EXPECT_TRUE(absl::IsNotFound(PrefixLock::Acquire(directory.path() + "/a/b/m", true).status()));
}

TEST(ThreadsKeepEachOtherOutWhereFilesCannotBeLocked) {
  const auto first = PrefixLock::Acquire("ram://locked/m", true);
  EXPECT_TRUE(!(*first)->excludes_processes());
  EXPECT_TRUE(absl::IsAlreadyExists(PrefixLock::Acquire("ram://locked/m", true).status()));
  EXPECT_EQ(PrefixLock::Acquire("ram://locked/n", true).status(), absl::OkStatus());
}

}  // namespace
}  // namespace autodist
