// Ranges of data files, read or summed by several threads.

#ifndef AUTODIST_RESTORE_FILE_RANGES_H_
#define AUTODIST_RESTORE_FILE_RANGES_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "format/reader/data_files.h"
#include "threads/progress.h"

namespace autodist {

struct FileRange {
  int shard_id;
  int64_t offset;
  int64_t size_bytes;
};

// The CRC of each range, unmasked; reads them to `out`, one after the other, unless that is null.
// `threads`, `cancelled` and `progress` are as in LoadOptions. REQUIRES: the files are open.
absl::StatusOr<std::vector<uint32_t>> ReadRanges(const DataFiles& files,
                                                 absl::Span<const FileRange> ranges, char* out,
                                                 int threads, const std::atomic<bool>* cancelled,
                                                 Progress* progress = nullptr);

}  // namespace autodist

#endif  // AUTODIST_RESTORE_FILE_RANGES_H_
