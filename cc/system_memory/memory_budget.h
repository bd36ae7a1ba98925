// Memory for a choice: a way to do something that takes more of it, where another takes none.

#ifndef AUTODIST_SYSTEM_MEMORY_MEMORY_BUDGET_H_
#define AUTODIST_SYSTEM_MEMORY_MEMORY_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "system_memory/available_memory.h"

namespace autodist {

// What one user of such memory may take. Note() is thread-safe.
class MemoryBudget {
 public:
  // Returns how many bytes this process can take; INT64_MAX if that is not known.
  using Available = std::function<int64_t()>;

  explicit MemoryBudget(Available available = [] { return AvailableMemory(); })
      : available_(std::move(available)) {}
  ~MemoryBudget();  // gives back what it claimed
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Claims `bytes`, once, if they are at most half of what is available: beside `needed_bytes`,
  // which are taken in any case, and beside the claims of others in this process. Otherwise
  // ResourceExhausted, which says what there is.
  absl::Status Claim(int64_t bytes, int64_t needed_bytes);

  // Notes that `bytes` were filled. ResourceExhausted if others, perhaps other processes, have
  // meanwhile taken half of what Claim() left to them.
  absl::Status Note(int64_t bytes);

 private:
  const Available available_;
  int64_t claimed_bytes_ = 0;
  int64_t least_available_ = 0;
  std::atomic<int64_t> noted_bytes_{0};
};

}  // namespace autodist

#endif  // AUTODIST_SYSTEM_MEMORY_MEMORY_BUDGET_H_
