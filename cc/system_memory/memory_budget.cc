// Memory for a choice. See the header.

#include "system_memory/memory_budget.h"

#include <algorithm>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

// How many bytes are filled between two looks at what is available. A look takes as long as a few
// hundred KiB.
constexpr int64_t kLookBytes = 64 << 20;

// The claims of this process. What of them is filled counts twice, as it is not available any more.
std::mutex claims_mutex;
int64_t claims = 0;

std::string Mebibytes(int64_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

}  // namespace

MemoryBudget::~MemoryBudget() {
  const std::lock_guard<std::mutex> lock(claims_mutex);
  claims -= claimed_bytes_;
}

absl::Status MemoryBudget::Claim(int64_t bytes, int64_t needed_bytes) {
  const int64_t available = available_();
  const std::lock_guard<std::mutex> lock(claims_mutex);
  const int64_t free = std::max<int64_t>(0, available - std::min(available, needed_bytes) - claims);
  if (bytes > free / 2) {
    return absl::ResourceExhaustedError(absl::StrCat("it takes ", Mebibytes(bytes),
                                                     " of memory, more than half of the ",
                                                     Mebibytes(free), " that are available"));
  }
  claimed_bytes_ = bytes;
  claims += bytes;
  least_available_ = (free - bytes) / 2;
  return absl::OkStatus();
}

absl::Status MemoryBudget::Note(int64_t bytes) {
  const int64_t before = noted_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (before / kLookBytes == (before + bytes) / kLookBytes) return absl::OkStatus();
  const int64_t available = available_();
  if (available >= least_available_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("only ", Mebibytes(available), " of memory are available any more"));
}

}  // namespace autodist
