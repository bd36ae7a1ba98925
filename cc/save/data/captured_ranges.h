// Bytes of some ranges of a file, kept as they are written.

#ifndef AUTODIST_SAVE_DATA_CAPTURED_RANGES_H_
#define AUTODIST_SAVE_DATA_CAPTURED_RANGES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace autodist {

// Thread-safe.
class CapturedRanges {
 public:
  using Rest = std::function<absl::Status(int64_t offset, absl::string_view bytes)>;

  // Sets what to keep from now on: begin and end of each range, ascending and disjoint.
  // InvalidArgument if they are not. Needs memory for a range once its first byte comes.
  absl::Status Set(absl::Span<const int64_t> ranges);

  // Keeps the bytes that are in a range. Calls `rest` for the others, run by run, and returns its
  // first error. `bytes` begin at `offset` of the file. Each byte of a range is given once.
  absl::Status Keep(int64_t offset, absl::string_view bytes, const Rest& rest);

  // The bytes of a range, which is not kept any longer. Internal unless it is one that was set and
  // all of its bytes came.
  absl::StatusOr<std::string> Take(int64_t begin, int64_t end);

 private:
  struct Range {
    int64_t end;
    int64_t kept_bytes;
    std::string bytes;
  };

  std::mutex mutex_;
  std::map<int64_t, Range> ranges_;  // by first byte
};

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_CAPTURED_RANGES_H_
