// Reads a unit's bytes as they stand in the data file: gathers shards, reduces replicas, sums the
// result.

#ifndef AUTODIST_SAVE_DATA_UNIT_READER_H_
#define AUTODIST_SAVE_DATA_UNIT_READER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/boxes/runs.h"
#include "format/values/element_type.h"
#include "images/byte_reader.h"
#include "save/data/figures_collector.h"
#include "save/data/sources.h"
#include "save/plan/file_plan.h"
#include "save/plan/save_plan.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Whether `values`, of SourcesOf(planned, shards), have the dtype and shapes they were planned
// with. A variable may have been assigned something else since. With `may_be_parts` a value of one
// axis is taken for a part of its shard.
absl::Status CheckValues(const PlannedTensor& planned, absl::Span<const int> shards,
                         absl::Span<const tensorflow::Tensor> values, bool may_be_parts);

// Thread-safe once made.
class UnitReader {
 public:
  // REQUIRES: CheckValues() of them is ok, and `values` outlive the reader.
  UnitReader(const PlannedTensor& planned, const Unit& unit, const HeldValues& values);

  // All bytes of the unit, where they lie together in memory that nobody changes (HeldValues);
  // else null. Whoever reads them here needs no Read().
  const char* fixed_bytes() const { return fixed_; }

  // Writes the unit's bytes [begin, end) to `out` and returns the CRC of what is there then, even
  // if the sources change meanwhile. Each byte of a value with a reader is read once. `collector`
  // sees what is written to `out`, and is told how far replicas are from each other; it may be
  // null. REQUIRES: begin and end are multiples of the element's size.
  absl::StatusOr<absl::crc32c_t> Read(int64_t begin, int64_t end, char* out,
                                      FiguresCollector* collector = nullptr) const;

 private:
  // The bytes of a value and the place of the first of them in the shard.
  struct Replica {
    const char* bytes;
    int64_t first_byte;
    ByteReader* reader;  // null: the bytes are read where they are
  };

  struct Shard {
    RunPlan runs;
    std::vector<Replica> replicas;
  };

  // As Read(), in pieces that readers copy first.
  absl::Status GatherFromReaders(int64_t begin, int64_t end, char* out,
                                 FiguresCollector* collector) const;
  absl::Status ReadReplicas(const Shard& shard, int64_t first, int64_t last, char* scratch,
                            std::vector<Replica>* read) const;
  void Gather(int64_t begin, int64_t end, char* out, FiguresCollector* collector) const;
  void GatherRun(absl::Span<const Replica> replicas, const Run& run, char* out,
                 FiguresCollector* collector) const;

  const Aggregation aggregation_;
  const Arithmetic arithmetic_;
  const int64_t element_bytes_;
  const int64_t first_element_;
  std::vector<Shard> shards_;
  size_t most_replicas_ = 0;
  bool has_readers_ = false;
  const char* contiguous_ = nullptr;  // the unit's bytes, where they lie together in one source
  ByteReader* contiguous_reader_ = nullptr;
  const char* fixed_ = nullptr;
};

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_UNIT_READER_H_
