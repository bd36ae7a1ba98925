// Write protection of pages of this process: userfaultfd(2).

#ifndef AUTODIST_IMAGES_PAGE_GUARD_H_
#define AUTODIST_IMAGES_PAGE_GUARD_H_

#include <cstdint>

#include "absl/status/status.h"
#include "images/memory_image.h"

namespace autodist {

class PageGuard {
 public:
  PageGuard() = default;
  ~PageGuard();
  PageGuard(const PageGuard&) = delete;
  PageGuard& operator=(const PageGuard&) = delete;

  // FailedPrecondition where the kernel, the container or the user may not.
  absl::Status Open();

  // Whole pages that may be protected from now on, until Leave(). All of them have memory of their
  // own afterwards.
  absl::Status Watch(const MemoryRange& pages);
  absl::Status Leave(const MemoryRange& pages);

  // From when this returns, whoever writes to the pages waits.
  absl::Status Protect(const MemoryRange& pages);

  // Takes the protection off, and wakes who waits.
  absl::Status Unprotect(const MemoryRange& pages);

  // Wakes who waits for a page that is not protected any more.
  void Wake(char* page);

  // Waits for somebody who writes to a protected page, up to some milliseconds. The page, or null.
  char* NextFault(int milliseconds);

 private:
  absl::Status SetProtection(const MemoryRange& pages, bool is_on);

  int descriptor_ = -1;
  bool covers_absent_pages_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_PAGE_GUARD_H_
