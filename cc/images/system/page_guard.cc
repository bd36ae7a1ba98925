// Write protection of pages of this process: userfaultfd(2).

#include "images/system/page_guard.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "images/chunks.h"

// Older headers lack some of these: they are of Linux 5.11, 6.1, 6.4 and 5.14.
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace autodist {
namespace {

absl::Status GuardError(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", std::strerror(errno)));
}

uffdio_range RangeOf(const MemoryRange& pages) {
  return {reinterpret_cast<uint64_t>(pages.begin), static_cast<uint64_t>(pages.size)};
}

constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;

constexpr int kMostTries = 1000;

// Makes a descriptor whose protection stops the kernel's own writes, too. Returns -1 and sets errno
// if the user may not.
int NewDescriptor() {
  int made = static_cast<int>(syscall(SYS_userfaultfd, kFlags));
  if (made >= 0) return made;
  const int error = errno;
  const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device >= 0) {
    made = ioctl(device, USERFAULTFD_IOC_NEW, kFlags);
    close(device);
  }
  errno = error;
  return made;
}

int NewDescriptorOfPrograms() {
  return static_cast<int>(syscall(SYS_userfaultfd, kFlags | UFFD_USER_MODE_ONLY));
}

}  // namespace

PageGuard::~PageGuard() { Close(); }

void PageGuard::Close() {
  for (int* const descriptor : {&descriptor_, &spare_}) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
  }
}

// Other threads may use the descriptor at this moment, so its number stays taken: it now stands for
// /dev/null. The kernel closes the old description, which ends all protection.
void PageGuard::Abandon() {
  if (fcntl(descriptor_, F_GETFD) >= 0) dup3(spare_, descriptor_, O_CLOEXEC);
}

absl::Status PageGuard::OpenDescriptor(Against against) {
  descriptor_ = NewDescriptor();
  if (descriptor_ >= 0) return absl::OkStatus();
  const absl::Status status = GuardError("userfaultfd");
  descriptor_ = NewDescriptorOfPrograms();
  if (descriptor_ < 0) return status;
  if (against == Against::kWritesOfPrograms) return absl::OkStatus();
  Close();
  return absl::FailedPreconditionError(
      "this user cannot protect pages from the kernel's own writes, as of read(2) "
      "(vm.unprivileged_userfaultfd is 0)");
}

absl::Status PageGuard::Open(Against against) {
  absl::Status status;
  // A descriptor takes one set of features, so each attempt needs a new one.
  for (const uint64_t extra : {UFFD_FEATURE_WP_UNPOPULATED, 0}) {
    status = OpenDescriptor(against);
    if (!status.ok()) return status;
    uffdio_api api = {};
    api.api = UFFD_API;
    api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | extra;
    if (ioctl(descriptor_, UFFDIO_API, &api) == 0) {
      covers_absent_pages_ = extra != 0;
      spare_ = open("/dev/null", O_RDWR | O_CLOEXEC);
      return spare_ < 0 ? GuardError("/dev/null") : absl::OkStatus();
    }
    status = GuardError("userfaultfd without write protection");
    Close();
  }
  return status;
}

absl::Status PageGuard::Watch(const MemoryRange& pages) {
  // The kernel merges equal pages of memory that was marked so, and their protection is gone.
  madvise(pages.begin, static_cast<size_t>(pages.size), MADV_UNMERGEABLE);
  uffdio_register watched = {};
  watched.range = RangeOf(pages);
  watched.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(descriptor_, UFFDIO_REGISTER, &watched) != 0) return GuardError("UFFDIO_REGISTER");
  absl::Status status;
  if ((watched.ioctls & (uint64_t{1} << _UFFDIO_WRITEPROTECT)) == 0) {
    status = absl::FailedPreconditionError("memory of a kind that cannot be write-protected");
  } else if (!covers_absent_pages_ &&
             madvise(pages.begin, static_cast<size_t>(pages.size), MADV_POPULATE_WRITE) != 0) {
    status = GuardError("cannot give each page memory of its own");
  }
  if (!status.ok()) (void)Leave(pages);
  return status;
}

absl::Status PageGuard::Leave(const MemoryRange& pages) {
  uffdio_range range = RangeOf(pages);
  if (ioctl(descriptor_, UFFDIO_UNREGISTER, &range) != 0) return GuardError("UFFDIO_UNREGISTER");
  return absl::OkStatus();
}

absl::Status PageGuard::Protect(const MemoryRange& pages) { return SetProtection(pages, true); }

absl::Status PageGuard::Unprotect(const MemoryRange& pages) { return SetProtection(pages, false); }

absl::Status PageGuard::SetProtection(const MemoryRange& pages, bool is_on) {
  uffdio_writeprotect change = {};
  change.range = RangeOf(pages);
  change.mode = is_on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  for (int i = 0; i < kMostTries; ++i) {
    if (ioctl(descriptor_, UFFDIO_WRITEPROTECT, &change) == 0) return absl::OkStatus();
    // The kernel is changing the mappings at this moment.
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return GuardError("UFFDIO_WRITEPROTECT");
}

void PageGuard::Wake(char* page) {
  uffdio_range range = RangeOf({page, kMemoryPageBytes});
  ioctl(descriptor_, UFFDIO_WAKE, &range);
}

absl::StatusOr<char*> PageGuard::NextFault(int milliseconds) {
  pollfd waits = {descriptor_, POLLIN, 0};
  const int ready = poll(&waits, 1, milliseconds);
  if (ready == 0 || (ready < 0 && (errno == EINTR || errno == EAGAIN))) return nullptr;
  if ((waits.revents & POLLNVAL) != 0) errno = EBADF;
  if (ready < 0 || (waits.revents & POLLNVAL) != 0)
    return GuardError("cannot wait for writes to protected pages");
  uffd_msg message;
  const ssize_t got = read(descriptor_, &message, sizeof message);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return nullptr;
  if (got != sizeof message) return GuardError("cannot read which protected page is written to");
  if (message.event != UFFD_EVENT_PAGEFAULT) return nullptr;
  const uint64_t page =
      message.arg.pagefault.address & ~static_cast<uint64_t>(kMemoryPageBytes - 1);
  return reinterpret_cast<char*>(page);
}

}  // namespace autodist
