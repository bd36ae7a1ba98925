// Writes a checkpoint: plan and sources in, `<prefix>.data-00000-of-00001` and `<prefix>.index`
// out, byte for byte what stock TensorFlow's SaveV2 writes for the same values. (Over a checkpoint
// in use the data file gets another number, see bundle_files.h.)

#ifndef AUTODIST_SAVE_BUNDLE_WRITER_H_
#define AUTODIST_SAVE_BUNDLE_WRITER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "save/data/sources.h"
#include "save/plan/save_plan.h"
#include "threads/progress.h"

namespace autodist {

struct WriteOptions {
  int threads = 0;                               // 0: chosen from the machine
  bool durable = true;                           // syncs all it writes
  const std::atomic<bool>* cancelled = nullptr;  // once true, the save fails with Cancelled
  Progress* progress = nullptr;                  // of the data file's bytes; may be null
  std::string* figures = nullptr;                // gets those of all tensors (tensor_figures.h)
};

// Returns the size of the data file in bytes. On failure nothing is left on disk that was not there
// before. May throw std::bad_alloc.
absl::StatusOr<int64_t> WriteBundle(const std::string& prefix, const SavePlan& plan,
                                    Sources* sources, const WriteOptions& options);

}  // namespace autodist

#endif  // AUTODIST_SAVE_BUNDLE_WRITER_H_
