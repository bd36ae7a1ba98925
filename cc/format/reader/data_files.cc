// Opens and reads data files; see the header.

#include "format/reader/data_files.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/printable.h"
#include "format/index/bundle_names.h"
#include "versions/tensorflow_versions.h"

namespace autodist {

absl::Status DataFiles::Open(const BundleEntry& entry) {
  auto found = files_.find(entry.shard_id);
  if (found == files_.end()) {
    tsl::Env* env = tsl::Env::Default();
    const std::string path = Path(entry.shard_id);
    uint64_t size_bytes;
    File file;
    absl::Status status = env->GetFileSize(path, &size_bytes);
    if (status.ok()) status = env->NewRandomAccessFile(path, &file.file);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("data file ", path, ": ", status.message()));
    }
    file.size_bytes = static_cast<int64_t>(size_bytes);
    found = files_.emplace(entry.shard_id, std::move(file)).first;
  }
  if (entry.offset + entry.size_bytes <= found->second.size_bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(entry.ToString(), ": ",
                                          Range(entry.shard_id, entry.offset, entry.size_bytes),
                                          " are missing: the file has ", found->second.size_bytes));
}

absl::Status DataFiles::Read(int shard_id, int64_t offset, int64_t size, char* out) const {
  absl::string_view bytes;
  const absl::Status status =
      ReadFileBytes(file(shard_id), offset, absl::MakeSpan(out, size), &bytes);
  if (static_cast<int64_t>(bytes.size()) == size) {
    if (bytes.data() != out) std::memmove(out, bytes.data(), size);
    return absl::OkStatus();
  }
  const std::string range = Range(shard_id, offset, size);
  if (status.ok() || absl::IsOutOfRange(status)) {
    return absl::DataLossError(absl::StrCat(range, " are missing: the file has become shorter"));
  }
  return absl::Status(status.code(), absl::StrCat(range, ": ", status.message()));
}

std::string DataFiles::Range(int shard_id, int64_t offset, int64_t size_bytes) const {
  return absl::StrCat("bytes [", offset, ", ", offset + size_bytes, ") of ",
                      Printable(Path(shard_id)));
}

std::string DataFiles::Path(int shard_id) const {
  return DataName(prefix_, shard_id, shard_count_);
}

}  // namespace autodist
