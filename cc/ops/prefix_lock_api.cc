// See the header for what this is for.

#include "ops/prefix_lock_api.h"

#include <memory>
#include <utility>

#include "bundle/guarded.h"
#include "bundle/posix_io.h"
#include "bundle/prefix_lock.h"
#include "ops/api_status.h"

struct AutodistPrefixLock {
  std::unique_ptr<autodist::PrefixLock> held;
};

int autodist_lock_prefix(const char* prefix, int durable, AutodistPrefixLock** lock,
                         int* excludes_processes, char* message, int64_t capacity) {
  *lock = nullptr;
  const absl::Status status = autodist::Guarded([&] {
    const autodist::FileSizeErrors file_size_errors;
    auto held = autodist::PrefixLock::Acquire(prefix, durable != 0);
    if (held.ok()) {
      *excludes_processes = (*held)->excludes_processes() ? 1 : 0;
      *lock = new AutodistPrefixLock{*std::move(held)};
    }
    return held.status();
  });
  return autodist::Report(status, message, capacity);
}

void autodist_unlock_prefix(AutodistPrefixLock** lock) { delete std::exchange(*lock, nullptr); }
