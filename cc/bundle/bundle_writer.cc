// See the header for the idea.

#include "bundle/bundle_writer.h"

#include <memory>
#include <vector>

#include "bundle/block.h"
#include "bundle/bundle_files.h"
#include "bundle/data_writer.h"
#include "bundle/file_plan.h"
#include "bundle/index_entries.h"
#include "bundle/index_table.h"
#include "bundle/posix_io.h"
#include "bundle/tensor_stream.h"

namespace autodist {

absl::StatusOr<int64_t> WriteBundle(const std::string& prefix, const SavePlan& plan,
                                    Sources* sources, const WriteOptions& options) {
  const FileSizeErrors file_size_errors;
  absl::StatusOr<std::vector<TensorStream>> streams = MakeStreams(plan, sources);
  if (!streams.ok()) return streams.status();
  const FilePlan file = PlanFile(plan, StreamBytes(*streams), kBlockBytes);

  absl::StatusOr<std::unique_ptr<BundleFiles>> files = BundleFiles::Create(prefix, options.durable);
  if (!files.ok()) return files.status();
  absl::Status status = (*files)->ReserveData(file.size_bytes);
  if (!status.ok()) return status;
  const DataSink sink = [&](int64_t offset, absl::string_view bytes) {
    return (*files)->WriteData(offset, bytes);
  };
  const int threads = (*files)->is_sequential() ? 1 : ThreadCount(options.threads, file.size_bytes);
  const absl::StatusOr<std::vector<uint32_t>> crcs =
      WriteData(plan, file, &*streams, sources, sink, threads, options.cancelled);
  if (!crcs.ok()) return crcs.status();
  const auto entries = IndexEntries(plan, file.extents, *crcs);
  status = (*files)->Commit([&](int file_count) { return BuildIndexTable(entries, file_count); });
  if (!status.ok()) return status;
  return file.size_bytes;
}

}  // namespace autodist
