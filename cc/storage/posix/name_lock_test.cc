#include "storage/posix/name_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <thread>
#include <vector>

#include "core/testing/testing.h"
#include "storage/directory/prefix_lock.h"
#include "storage/directory/save_directory.h"
#include "storage/testing/testing_directory.h"

namespace {

// What flock() fails with, as on file systems that have no locks; 0: it works.
std::atomic<int> flock_error{0};
// NFS: an exclusive lock wants a file that can be written to.
std::atomic<bool> wants_writable{false};

}  // namespace

// In place of the C library's.
extern "C" int flock(int file, int operation) noexcept {
  errno = flock_error;
  if (wants_writable && (operation & LOCK_EX) != 0 &&
      (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY) {
    errno = EBADF;
  }
  if (errno != 0) return -1;
  return static_cast<int>(syscall(SYS_flock, file, operation));
}

namespace autodist {
namespace {

using testing::Contains;
using testing::TemporaryDirectory;
using Names = std::vector<std::string>;

// Forks; the child, once it has run what fork() runs in a child, writes its number to `ready`.
// Neither returns.
[[noreturn]] void ForkAndPause(int ready) {
  if (fork() == 0) {
    const pid_t self = getpid();
    if (write(ready, &self, sizeof(self)) < 0) _exit(1);
  }
  while (true) pause();
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
    ForkAndPause(ready[1]);
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

// Calls `body` in a forked child; returns whether it returned true there.
template <typename Body>
bool InChild(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(AChildNeitherKeepsALockNorClosesWhatHasItsNumberNow) {
  const TemporaryDirectory directory;
  const std::string prefix = directory.path() + "/m";
  auto lock = PrefixLock::Acquire(prefix, true);
  EXPECT_TRUE(InChild([&] {
    // The numbers that the lock's descriptors had are those of these now.
    std::vector<int> opened;
    for (int i = 0; i < 50; ++i) opened.push_back(open("/dev/null", O_RDONLY));
    lock->reset();
    for (int file : opened) {
      if (fcntl(file, F_GETFD) < 0) return false;
    }
    return true;
  }));
  // Nor has it removed the file or ended the lock.
  EXPECT_EQ(directory.Names().size(), size_t{1});
  EXPECT_TRUE(
      InChild([&] { return absl::IsAlreadyExists(PrefixLock::Acquire(prefix, true).status()); }));
  lock->reset();
  EXPECT_TRUE(InChild([&] { return PrefixLock::Acquire(prefix, true).ok(); }));
}

TEST(AChildThatLivesOnKeepsNoStagedFileFromBeingRemoved) {
  const TemporaryDirectory directory;
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t saver = fork();
  if (saver == 0) {
    const auto opened = OpenPosixDirectory(directory.path());
    const auto file = (*opened)->Create("m.data.autodist00000000-5be1d20c77aa");
    ForkAndPause(ready[1]);
  }
  pid_t child;
  EXPECT_EQ(read(ready[0], &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  const std::string path = directory.path() + "/m.data.autodist00000000-5be1d20c77aa";
  // Old enough for what another kernel's saver may have left.
  const timespec past[2] = {{1000000, 0}, {1000000, 0}};
  EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), past, 0), 0);
  const auto opened = OpenPosixDirectory(directory.path());
  (*opened)->RemoveIfAbandoned("m.data.autodist00000000-5be1d20c77aa");
  EXPECT_EQ(directory.Names().size(), size_t{1});
  kill(saver, SIGKILL);
  waitpid(saver, nullptr, 0);
  (*opened)->RemoveIfAbandoned("m.data.autodist00000000-5be1d20c77aa");
  EXPECT_TRUE(directory.Names().empty());
  kill(child, SIGKILL);
  for (int file : ready) close(file);
}

TEST(WhereFilesCannotBeLockedNobodyRemovesTheLockOfAnother) {
  for (const int error : {ENOLCK, EOPNOTSUPP, ENOSYS, EBADF, EIO}) {
    const TemporaryDirectory directory;
    const std::string prefix = directory.path() + "/m";
    {
      const auto first = PrefixLock::Acquire(prefix, true);
      EXPECT_TRUE(InChild([&] {
        flock_error = error;
        const auto second = PrefixLock::Acquire(prefix, true);
        return second.ok() && !(*second)->excludes_processes();
      }));
      EXPECT_EQ(directory.Names().size(), size_t{1});
      EXPECT_TRUE(InChild(
          [&] { return absl::IsAlreadyExists(PrefixLock::Acquire(prefix, true).status()); }));
    }
    EXPECT_TRUE(directory.Names().empty());
    flock_error = error;
    {
      const auto alone = PrefixLock::Acquire(prefix, true);
      EXPECT_TRUE(alone.ok() && !(*alone)->excludes_processes());
      EXPECT_TRUE(absl::IsAlreadyExists(PrefixLock::Acquire(prefix, true).status()));
      EXPECT_TRUE(directory.Names().empty());
    }
    EXPECT_EQ(PrefixLock::Acquire(prefix, true).status(), absl::OkStatus());
    flock_error = 0;
    EXPECT_TRUE(directory.Names().empty());
  }
}

TEST(AnotherUsersLockOverNfsIsRespectedAndItsRestIsTaken) {
  if (geteuid() != 0) return;  // only root becomes another user
  const TemporaryDirectory directory;
  const std::string prefix = directory.path() + "/m";
  EXPECT_EQ(chmod(directory.path().c_str(), 0777), 0);
  wants_writable = true;
  const auto as_another = [&](auto&& body) {
    return InChild([&] { return setuid(65534) == 0 && body(); });
  };
  {
    const auto first = PrefixLock::Acquire(prefix, true);
    EXPECT_TRUE(first.ok() && (*first)->excludes_processes());
    EXPECT_TRUE(as_another(
        [&] { return absl::IsAlreadyExists(PrefixLock::Acquire(prefix, true).status()); }));
    EXPECT_EQ(directory.Names().size(), size_t{1});
  }
  std::ofstream(directory.path() + "/m.autodist00000000-000000000000") << "process 1 on nowhere";
  EXPECT_TRUE(as_another([&] {
    const auto taken = PrefixLock::Acquire(prefix, true);
    return taken.ok() && (*taken)->excludes_processes();
  }));
  EXPECT_TRUE(directory.Names().empty());
  wants_writable = false;
}

}  // namespace
}  // namespace autodist
