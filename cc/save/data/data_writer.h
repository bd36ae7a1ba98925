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
#include "core/figures/figures.h"
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

// What was written.
struct WrittenData {
  std::vector<uint32_t> crcs;    // of each planned tensor, unmasked
  std::vector<Figures> figures;  // of each, or none if they were not asked for
};

// Writes all of `file`. `cancelled` may be null; once it is true, this fails with Cancelled. With
// `has_figures` it computes figures, too: the same for the same bytes, whatever the number of
// threads. Those of tensors without figures are empty. May throw std::bad_alloc.
absl::StatusOr<WrittenData> WriteData(const SavePlan& plan, const FilePlan& file,
                                      std::vector<TensorStream>* streams, Sources* sources,
                                      const DataSink& sink, int thread_count,
                                      const std::atomic<bool>* cancelled, bool has_figures = false);

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_DATA_WRITER_H_
