// An image in the memory of a forked child: the kernel copies a page at the first write to it. The
// header tells how.

#include "images/forked_image.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "images/system/private_memory.h"

namespace autodist {
namespace {

// How much memory the child gives back at a time.
constexpr int64_t kForkGrainBytes = 2 << 20;

// How many ranges one system call probes: IOV_MAX.
constexpr size_t kProbesPerCall = 1024;

absl::Status ForkError(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", std::strerror(errno)));
}

absl::Status ReadError(pid_t child) {
  return ForkError(
      absl::StrCat("cannot read the memory of process ", child, ", the child of a fork"));
}

// Closes all descriptors but `kept`. Does so one by one if the kernel is older than Linux 5.9, or
// if a container does not allow close_range(2).
__attribute__((no_sanitize("address", "thread", "undefined"))) void CloseAllBut(int kept) {
  const bool is_below_closed = kept == 0 || syscall(SYS_close_range, 0, kept - 1, 0) == 0;
  if (is_below_closed && syscall(SYS_close_range, kept + 1, ~0U, 0) == 0) return;
  struct {
    uint64_t current, most;
  } limit = {};
  if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit) != 0) limit.current = 1 << 16;
  for (uint64_t i = 0; i < limit.current; ++i) {
    if (i != static_cast<uint64_t>(kept)) syscall(SYS_close, i);
  }
}

// What the child does. It runs only system calls: at the fork, another thread of the parent may
// have held any lock of the C library.
[[noreturn]] __attribute__((no_sanitize("address", "thread", "undefined"))) void LiveAsChild(
    int pipe, pid_t parent) {
  // If memory is short, the kernel kills this child first: the save fails, and training goes on.
  const long score = syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY);
  if (score >= 0) {
    (void)!syscall(SYS_write, score, "1000", 4);
  }
  CloseAllBut(pipe);
  // PR_SET_PDEATHSIG would end the child when the thread that forked it ends, not the process.
  while (syscall(SYS_getppid) == parent) {
    pollfd waits = {pipe, POLLIN, 0};
    timespec second = {1, 0};
    if (syscall(SYS_ppoll, &waits, 1, &second, nullptr, 0) <= 0) continue;
    MemoryRange dropped;
    if (syscall(SYS_read, pipe, &dropped, sizeof dropped) != sizeof dropped) break;
    syscall(SYS_madvise, dropped.begin, dropped.size, MADV_DONTNEED);
  }
  syscall(SYS_exit_group, 0);
  __builtin_unreachable();
}

}  // namespace

ForkedImage::~ForkedImage() {
  EndChild();
  if (read_end_ >= 0) close(read_end_);
}

absl::Status ForkedImage::Prepare(absl::Span<const MemoryRange> ranges) {
  chunks_ = std::make_unique<Chunks>(ranges, kForkGrainBytes, kForkGrainBytes);
  probes_.resize(ranges.size());
  probed_.resize(ranges.size());
  const absl::Status status = CheckPrivate(ranges);
  if (!status.ok()) return status;
  // Finds out whether a container denies the call.
  char byte = 0, copy;
  const iovec local = {&copy, 1}, remote = {&byte, 1};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != 1) {
    return ForkError("process_vm_readv");
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ForkError("no pipe for the child of a fork");
  read_end_ = ends[0];
  write_end_ = ends[1];
  // A stopped child does not read the pipe, and nobody is to wait for it.
  fcntl(write_end_, F_SETFL, O_NONBLOCK);
  return absl::OkStatus();
}

absl::Status ForkedImage::Take(absl::Span<const MemoryRange> ranges) {
  if (!chunks_->Place(ranges)) return MovedError();
  const pid_t parent = getpid();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  // Without an exit signal: a part of the program that waits for its own children does not see this
  // one. clone() and not fork(), because the handlers of pthread_atfork() take locks.
  const long child = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) LiveAsChild(read_end_, parent);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  if (child < 0) return ForkError("fork");
  child_ = static_cast<pid_t>(child);
  size_t count = 0;
  for (const MemoryRange& range : ranges) {
    if (range.size > 0) probes_[count++] = {range.begin, 1};
  }
  probes_.resize(count);
  const absl::Status status = CheckReadable();
  if (!status.ok()) EndChild();
  return status;
}

// Reads a byte of each range. The system may forbid to read the child, and a driver may keep memory
// from children.
absl::Status ForkedImage::CheckReadable() {
  for (size_t first = 0; first < probes_.size(); first += kProbesPerCall) {
    const size_t count = std::min(kProbesPerCall, probes_.size() - first);
    const iovec local = {probed_.data(), count};
    const ssize_t got = process_vm_readv(child_, &local, 1, &probes_[first], count, 0);
    if (got >= 0 && got < static_cast<ssize_t>(count)) errno = EFAULT;
    if (got != static_cast<ssize_t>(count)) return ReadError(child_);
  }
  return absl::OkStatus();
}

absl::Status ForkedImage::Read(const char* at, int64_t size, char* to) {
  while (size > 0) {
    const iovec local = {to, static_cast<size_t>(size)};
    const iovec remote = {const_cast<char*>(at), static_cast<size_t>(size)};
    const ssize_t got = process_vm_readv(child_, &local, 1, &remote, 1, 0);
    if (got <= 0) return ReadError(child_);
    at += got;
    to += got;
    size -= got;
  }
  return absl::OkStatus();
}

void ForkedImage::Release(const char* at, int64_t size) {
  chunks_->Release(at, size, [this](const Chunk& chunk) {
    if (chunk.is_edge) return;
    const MemoryRange dropped = {chunk.begin, chunk.size};
    // The pipe takes a message so small as a whole or not at all. If the pipe is full, the child
    // keeps this memory until it ends.
    std::lock_guard<std::mutex> lock(drop_mutex_);
    (void)!write(write_end_, &dropped, sizeof dropped);
  });
}

absl::Status ForkedImage::Finish() {
  EndChild();
  return absl::OkStatus();
}

void ForkedImage::EndChild() {
  if (write_end_ >= 0) close(write_end_);
  write_end_ = -1;
  if (child_ == 0) return;
  // The child has blocked all signals that can be blocked; this one cannot.
  kill(child_, SIGKILL);
  int status;
  while (waitpid(child_, &status, __WALL) < 0 && errno == EINTR) {
  }
  child_ = 0;
}

}  // namespace autodist
