// The data files of a checkpoint, opened to be read.

#ifndef AUTODIST_FORMAT_READER_DATA_FILES_H_
#define AUTODIST_FORMAT_READER_DATA_FILES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "format/reader/bundle_reader.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {

class DataFiles {
 public:
  DataFiles(std::string prefix, int shard_count)
      : prefix_(std::move(prefix)), shard_count_(shard_count) {}

  // Opens the file that `entry` is in, unless it is open. DataLoss if it is too short for the
  // entry. Not thread-safe; the rest is. REQUIRES: the entry's offset and size are those of a
  // range.
  absl::Status Open(const BundleEntry& entry);

  // Reads bytes of a file that is open. DataLoss if it has become too short.
  absl::Status Read(int shard_id, int64_t offset, int64_t size, char* out) const;

  const tsl::RandomAccessFile& file(int shard_id) const { return *files_.at(shard_id).file; }

  // "bytes [0, 40) of model.ckpt.data-00000-of-00001"
  std::string Range(int shard_id, int64_t offset, int64_t size_bytes) const;

 private:
  struct File {
    std::unique_ptr<tsl::RandomAccessFile> file;
    int64_t size_bytes;
  };

  std::string Path(int shard_id) const;

  const std::string prefix_;
  const int shard_count_;
  std::map<int, File> files_;
};

}  // namespace autodist

#endif  // AUTODIST_FORMAT_READER_DATA_FILES_H_
