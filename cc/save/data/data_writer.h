// Writes the bytes of a plan: the part of a save between the plan and the index.
//
// Several threads work at once. Each reads a block of about 1 MiB into a buffer of its own,
// computes the CRC there, and writes it at its final offset. Bytes that nobody can change are
// summed and written from where they are. The CRCs are joined in file order. The summed bytes are
// the written bytes, also if the sources change meanwhile. Memory: one block per thread, for any
// model. docs/design/save-data.md has the reasons.

#ifndef AUTODIST_SAVE_DATA_DATA_WRITER_H_
#define AUTODIST_SAVE_DATA_DATA_WRITER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "save/data/sources.h"
#include "save/data/tensor_stream.h"
#include "save/plan/file_plan.h"
#include "save/plan/save_plan.h"

namespace autodist {

// Writes bytes at an offset of the data file; called from all threads.
using DataSink = std::function<absl::Status(int64_t offset, absl::string_view bytes)>;

// The streams of a plan, one per planned tensor, empty where its elements are of one size. Reads
// the values of those that have one.
absl::StatusOr<std::vector<TensorStream>> MakeStreams(const SavePlan& plan, Sources* sources);

// The encoded size of each stream, 0 for none: what PlanFile() takes.
std::vector<int64_t> StreamBytes(const std::vector<TensorStream>& streams);

// Writes all of `file`. Returns the CRC of each planned tensor, unmasked. `cancelled` may be null;
// once it is true, this fails with Cancelled. May throw std::bad_alloc.
absl::StatusOr<std::vector<uint32_t>> WriteData(const SavePlan& plan, const FilePlan& file,
                                                std::vector<TensorStream>* streams,
                                                Sources* sources, const DataSink& sink,
                                                int thread_count,
                                                const std::atomic<bool>* cancelled);

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_DATA_WRITER_H_
