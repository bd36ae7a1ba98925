// Write protection of pages of this process: userfaultfd(2).

#ifndef AUTODIST_IMAGES_SYSTEM_PAGE_GUARD_H_
#define AUTODIST_IMAGES_SYSTEM_PAGE_GUARD_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "images/memory_image.h"

namespace autodist {

class PageGuard {
 public:
  PageGuard() = default;
  ~PageGuard();
  PageGuard(const PageGuard&) = delete;
  PageGuard& operator=(const PageGuard&) = delete;

  // Against whose writes pages are protected. An ordinary user may have the second only, unless
  // the administrator allows more. Then the kernel's own writes, as of read(2), fail: EFAULT.
  enum class Against { kAllWrites, kWritesOfPrograms };

  // FailedPrecondition where the kernel, the container or the user may not. `against`: the least
  // that is asked for.
  absl::Status Open(Against against = Against::kAllWrites);

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
  // An error: nobody is noticed any more.
  absl::StatusOr<char*> NextFault(int milliseconds);

  // Ends everything at once, for when a call above has failed: no page is watched or protected any
  // more, whoever waits goes on, and all calls fail from now on.
  void Abandon();

 private:
  absl::Status OpenDescriptor(Against against);
  void Close();
  absl::Status SetProtection(const MemoryRange& pages, bool is_on);

  int descriptor_ = -1;
  int spare_ = -1;  // takes the place of the descriptor when that is abandoned
  bool covers_absent_pages_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_PAGE_GUARD_H_
