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

  // Whose writes to protected pages wait. An ordinary user may have kWritesOfPrograms only, unless
  // the administrator allows more. With that the kernel's own writes, as of read(2), do not wait
  // but fail with EFAULT.
  enum class Against { kAllWrites, kWritesOfPrograms };

  // Opens the descriptor. `against` is the least protection that will do. FailedPrecondition if the
  // kernel lacks it, or if the container or the user may not have it.
  absl::Status Open(Against against = Against::kAllWrites);

  // Lets whole pages be protected from now on, until Leave(). On kernels before Linux 6.4 it gives
  // each page memory of its own. Fails for memory that another descriptor watches.
  absl::Status Watch(const MemoryRange& pages);
  absl::Status Leave(const MemoryRange& pages);

  // Protects the pages: once this has returned, a thread that writes to them waits.
  absl::Status Protect(const MemoryRange& pages);

  // Takes the protection off, and wakes the threads that wait.
  absl::Status Unprotect(const MemoryRange& pages);

  // Wakes the threads that wait for a page which is no longer protected.
  void Wake(char* page);

  // Waits until a thread writes to a protected page, at most for `milliseconds`. Returns the page,
  // or null. After an error no more writes are noticed.
  absl::StatusOr<char*> NextFault(int milliseconds);

  // Call it when another call has failed. It ends all protection at once: waiting threads go on,
  // and all later calls fail.
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
