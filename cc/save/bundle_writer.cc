// Writes a checkpoint: plan and sources in, `<prefix>.data-00000-of-00001` and `<prefix>.index`
// out, byte for byte what stock TensorFlow's SaveV2 writes for the same values. The header tells
// how.

#include "save/bundle_writer.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/index/index_table.h"
#include "save/commit/bundle_files.h"
#include "save/commit/index_entries.h"
#include "save/data/data_writer.h"
#include "save/data/tensor_figures.h"
#include "save/data/tensor_stream.h"
#include "save/plan/file_plan.h"
#include "storage/posix/posix_io.h"
#include "threads/block.h"

namespace autodist {

namespace {

// An error of too little space, with how much is needed.
absl::Status WithSize(const absl::Status& status, int64_t size_bytes) {
  if (!absl::IsResourceExhausted(status)) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), ". The data file takes ",
                                                  size_bytes, " bytes"));
}

absl::Status CheckCancelled(const WriteOptions& options) {
  if (options.progress == nullptr || !options.progress->is_cancelled()) return absl::OkStatus();
  return absl::CancelledError("the save was cancelled; nothing was written");
}

// Writes the data file and commits. Sets *is_read once the sources have been read.
absl::StatusOr<int64_t> WriteInto(BundleFiles* files, const SavePlan& plan, Sources* sources,
                                  const WriteOptions& options, bool* is_read) {
  absl::StatusOr<std::vector<TensorStream>> streams = MakeStreams(plan, sources);
  if (!streams.ok()) return streams.status();
  const FilePlan file = PlanFile(plan, StreamBytes(*streams), kBlockBytes);
  absl::Status status = files->ReserveData(file.size_bytes);
  if (status.ok() && sources->are_read_once()) status = files->TryAnyOrder(file.size_bytes);
  if (!status.ok()) return WithSize(status, file.size_bytes);
  // What is not synced the kernel writes later, when there is time.
  if (options.durable) files->WriteDirectly(file.size_bytes);
  if (options.progress != nullptr) options.progress->Begin(file.size_bytes);
  const DataSink sink = [&](int64_t offset, absl::string_view bytes) {
    if (absl::Status going_on = CheckCancelled(options); !going_on.ok()) return going_on;
    const absl::Status written = files->WriteData(offset, bytes);
    if (options.progress != nullptr) options.progress->Add(bytes.size());
    return written;
  };
  const int threads = files->is_sequential() ? 1 : WritingThreads(options.threads, file.size_bytes);
  *is_read = true;
  const absl::StatusOr<WrittenData> written = WriteData(
      plan, file, &*streams, sources, sink, threads, options.cancelled, options.figures != nullptr);
  if (!written.ok()) return WithSize(written.status(), file.size_bytes);
  status = sources->Finish();
  if (status.ok()) status = CheckCancelled(options);
  if (!status.ok()) return status;
  const auto entries = IndexEntries(plan, file.extents, written->crcs);
  status = files->Commit([&](int file_count) { return BuildIndexTable(entries, file_count); });
  if (!status.ok()) return status;
  if (options.figures != nullptr) {
    *options.figures = EncodeFigures(plan, written->crcs, written->figures);
  }
  return file.size_bytes;
}

}  // namespace

absl::StatusOr<int64_t> WriteBundle(const std::string& prefix, const SavePlan& plan,
                                    Sources* sources, const WriteOptions& options) {
  const FileSizeErrors file_size_errors;
  absl::StatusOr<std::unique_ptr<BundleFiles>> files = BundleFiles::Create(prefix, options.durable);
  if (!files.ok()) return files.status();
  bool is_read = false;
  const absl::StatusOr<int64_t> written = WriteInto(files->get(), plan, sources, options, &is_read);
  if (written.ok()) return written;
  const absl::StatusOr<bool> again = (*files)->BeginAgainInOrder();
  if (!again.ok()) return again.status();
  if (!*again) return written;
  if (is_read && sources->are_read_once()) {
    return absl::UnknownError(
        absl::StrCat("the file system took bytes in any order at first, and then in order only: ",
                     written.status().message(), ". Save again"));
  }
  return WriteInto(files->get(), plan, sources, options, &is_read);
}

}  // namespace autodist
