// See the header for what this is for.

#include "ops/prefix_lock_api.h"

#include <memory>
#include <new>
#include <utility>

#include "bundle/posix_io.h"
#include "bundle/prefix_lock.h"
#include "ops/api_status.h"

struct AutodistPrefixLock {
  std::unique_ptr<autodist::PrefixLock> held;
};

int autodist_lock_prefix(const char* prefix, int durable, AutodistPrefixLock** lock,
                         int* excludes_processes, char* message, int64_t capacity) {
  *lock = nullptr;
  try {
    const autodist::FileSizeErrors file_size_errors;
    auto held = autodist::PrefixLock::Acquire(prefix, durable != 0);
    if (held.ok()) {
      *excludes_processes = (*held)->excludes_processes() ? 1 : 0;
      *lock = new AutodistPrefixLock{*std::move(held)};
    }
    return autodist::Report(held.status(), message, capacity);
  } catch (const std::bad_alloc&) {
    return autodist::Report(
        absl::ResourceExhaustedError(absl::string_view("no memory to lock a prefix")), message,
        capacity);
  }
}

void autodist_unlock_prefix(AutodistPrefixLock** lock) { delete std::exchange(*lock, nullptr); }
