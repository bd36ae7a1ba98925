// System calls of this program that fail, for tests. The header tells how. Whatever is defined here
// also runs in a forked child, and in threads.
// that hold locks of the C library: atomic numbers and system calls only.

#include "images/testing/failing_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace autodist::testing {
namespace {

enum Call {
  kNone,
  kMmap,
  kMadvise,
  kOpen,
  kFopen,
  kUserfaultfd,
  kApi,
  kRegister,
  kUnregister,
  kWriteProtect,
  kWake,
  kPoll,
  kRead,
  kPthreadCreate,
  kPipe2,
  kClone,
  kProcessVmReadv,
  kWrite,
  kPwrite,
  kPread,
};

std::atomic<int> failing{kNone};
std::atomic<int> seen{0};
std::atomic<int> first_number{0};
std::atomic<bool> is_rest_failing{false};
std::atomic<int> given_error{0};
std::atomic<int> failed{0};

// Whether this call is to fail; sets errno.
bool Fails(int call) {
  if (call == kNone || failing.load() != call) return false;
  const int number = ++seen;
  if (number != first_number && !(is_rest_failing && number > first_number)) return false;
  ++failed;
  errno = given_error;
  return true;
}

int CallOfIoctl(unsigned long request) {
  switch (request) {
    case UFFDIO_API:
      return kApi;
    case UFFDIO_REGISTER:
      return kRegister;
    case UFFDIO_UNREGISTER:
      return kUnregister;
    case UFFDIO_WRITEPROTECT:
      return kWriteProtect;
    case UFFDIO_WAKE:
      return kWake;
    default:
      return kNone;
  }
}

int CallOfNumber(long number) {
  if (number == SYS_userfaultfd) return kUserfaultfd;
  return number == SYS_clone ? kClone : kNone;
}

}  // namespace

const std::vector<std::string>& CallNames() {
  // In the order of the numbers.
  static const auto* const names = new std::vector<std::string>{"",
                                                                "mmap",
                                                                "madvise",
                                                                "open",
                                                                "fopen",
                                                                "userfaultfd",
                                                                "UFFDIO_API",
                                                                "UFFDIO_REGISTER",
                                                                "UFFDIO_UNREGISTER",
                                                                "UFFDIO_WRITEPROTECT",
                                                                "UFFDIO_WAKE",
                                                                "poll",
                                                                "read",
                                                                "pthread_create",
                                                                "pipe2",
                                                                "clone",
                                                                "process_vm_readv",
                                                                "write",
                                                                "pwrite",
                                                                "pread"};
  return *names;
}

FailingCall::FailingCall(const std::string& name, int number, bool and_all_after, int error) {
  const auto& names = CallNames();
  seen = 0;
  failed = 0;
  first_number = number;
  is_rest_failing = and_all_after;
  given_error = error;
  failing = static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin());
}

FailingCall::~FailingCall() { failing = kNone; }

int FailingCall::failures() const { return failed; }

}  // namespace autodist::testing

using autodist::testing::CallOfIoctl;
using autodist::testing::CallOfNumber;
using autodist::testing::Fails;
namespace calls = autodist::testing;

namespace {

// The C library's own function.
template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

using Raw = long(long, ...);
Raw* RawCall() {
  static Raw* const raw = Real<Raw>("syscall");
  return raw;
}

}  // namespace

extern "C" {

void* mmap(void* at, size_t size, int protection, int flags, int file, off_t offset) {
  if (Fails(calls::kMmap)) return MAP_FAILED;
  return reinterpret_cast<void*>(RawCall()(SYS_mmap, at, size, protection, flags, file, offset));
}

int madvise(void* at, size_t size, int advice) noexcept {
  if (Fails(calls::kMadvise)) return -1;
  return static_cast<int>(RawCall()(SYS_madvise, at, size, advice));
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int mode = va_arg(more, int);
  va_end(more);
  if (Fails(calls::kOpen)) return -1;
  return static_cast<int>(RawCall()(SYS_openat, AT_FDCWD, path, flags, mode));
}

FILE* fopen(const char* path, const char* mode) {
  static auto* const real = Real<FILE*(const char*, const char*)>("fopen");
  return Fails(calls::kFopen) ? nullptr : real(path, mode);
}

int ioctl(int file, unsigned long request, ...) noexcept {
  va_list more;
  va_start(more, request);
  void* const argument = va_arg(more, void*);
  va_end(more);
  if (Fails(CallOfIoctl(request))) return -1;
  return static_cast<int>(RawCall()(SYS_ioctl, file, request, argument));
}

int poll(struct pollfd* files, nfds_t count, int milliseconds) {
  static auto* const real = Real<int(struct pollfd*, nfds_t, int)>("poll");
  return Fails(calls::kPoll) ? -1 : real(files, count, milliseconds);
}

ssize_t read(int file, void* bytes, size_t size) {
  return Fails(calls::kRead) ? -1 : RawCall()(SYS_read, file, bytes, size);
}

ssize_t write(int file, const void* bytes, size_t size) {
  return Fails(calls::kWrite) ? -1 : RawCall()(SYS_write, file, bytes, size);
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  return Fails(calls::kPwrite) ? -1 : RawCall()(SYS_pwrite64, file, bytes, size, offset);
}

ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
  return Fails(calls::kPread) ? -1 : RawCall()(SYS_pread64, file, bytes, size, offset);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  using Create = int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static auto* const real = Real<Create>("pthread_create");
  return Fails(calls::kPthreadCreate) ? errno : real(thread, attributes, start, argument);
}

int pipe2(int* ends, int flags) noexcept {
  return Fails(calls::kPipe2) ? -1 : static_cast<int>(RawCall()(SYS_pipe2, ends, flags));
}

ssize_t process_vm_readv(pid_t process, const iovec* local, unsigned long local_count,
                         const iovec* remote, unsigned long remote_count,
                         unsigned long flags) noexcept {
  if (Fails(calls::kProcessVmReadv)) return -1;
  return RawCall()(SYS_process_vm_readv, process, local, local_count, remote, remote_count, flags);
}

long syscall(long number, ...) noexcept {
  va_list more;
  va_start(more, number);
  long given[6];
  for (long& each : given) each = va_arg(more, long);
  va_end(more);
  if (Fails(CallOfNumber(number))) return -1;
  return RawCall()(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

}  // extern "C"
