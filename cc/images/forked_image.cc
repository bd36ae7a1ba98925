// See the header for the idea.

#include "images/forked_image.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

// Of what is given back at a time.
constexpr int64_t kForkGrainBytes = 2 << 20;

absl::Status ForkError(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// What the child does. Only system calls: another thread of the parent may have held any lock.
[[noreturn]] __attribute__((no_sanitize("address", "thread", "undefined"))) void LiveAsChild(
    int pipe, pid_t parent) {
  // Where memory is short, the image goes first, and the save fails; not the training.
  const long score = syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY);
  if (score >= 0) {
    (void)!syscall(SYS_write, score, "1000", 4);
  }
  if (pipe > 0) syscall(SYS_close_range, 0, pipe - 1, 0);
  syscall(SYS_close_range, pipe + 1, ~0U, 0);
  // PR_SET_PDEATHSIG would end the child with the thread that forked it.
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
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ForkError("no pipe for the child of a fork");
  read_end_ = ends[0];
  write_end_ = ends[1];
  // A child that was stopped reads nothing; nobody waits for it.
  fcntl(write_end_, F_SETFL, O_NONBLOCK);
  return absl::OkStatus();
}

absl::Status ForkedImage::Take(absl::Span<const MemoryRange> ranges) {
  if (!chunks_->Place(ranges)) return MovedError();
  const pid_t parent = getpid();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  // Without an exit signal, so that nobody who waits for children of its own sees this one. Not
  // fork(): the handlers of pthread_atfork() take locks.
  const long child = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) LiveAsChild(read_end_, parent);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  if (child < 0) return ForkError("fork");
  child_ = static_cast<pid_t>(child);
  char first;
  const absl::Status status =
      ranges.empty() ? absl::OkStatus() : Read(ranges[0].begin, ranges[0].size > 0, &first);
  if (!status.ok()) EndChild();
  return status;
}

absl::Status ForkedImage::Read(const char* at, int64_t size, char* to) {
  while (size > 0) {
    const iovec local = {to, static_cast<size_t>(size)};
    const iovec remote = {const_cast<char*>(at), static_cast<size_t>(size)};
    const ssize_t got = process_vm_readv(child_, &local, 1, &remote, 1, 0);
    if (got <= 0) {
      return ForkError(
          absl::StrCat("cannot read the memory of process ", child_, ", the child of a fork"));
    }
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
    // A pipe takes so little whole or not at all. If it is full, the memory lives a little longer.
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
  // Its signals are blocked, but for this one.
  kill(child_, SIGKILL);
  int status;
  while (waitpid(child_, &status, __WALL) < 0 && errno == EINTR) {
  }
  child_ = 0;
}

}  // namespace autodist
