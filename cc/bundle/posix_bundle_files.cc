// Bundle files on a POSIX file system: pwrite from any thread, fsync before
// every rename.

#include <unistd.h>

#include <optional>
#include <utility>

#include "bundle/bundle_files.h"
#include "bundle/posix_io.h"
#include "tensorflow/core/platform/path.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"

namespace autodist {
namespace {

// A file under a temporary name, removed unless it was moved to its target.
class StagedFile {
 public:
  StagedFile() = default;
  ~StagedFile() {
    if (!is_moved_) Remove();
  }
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  absl::Status Create(std::string target) {
    absl::StatusOr<PosixFile> file = PosixFile::Create(TemporaryName(target));
    if (!file.ok()) return file.status();
    target_ = std::move(target);
    file_.emplace(*std::move(file));
    return absl::OkStatus();
  }

  const PosixFile& file() const { return *file_; }

  absl::Status MoveToTarget() {
    absl::Status status = RenamePath(file_->path(), target_);
    if (status.ok()) is_moved_ = true;
    return status;
  }

  // Removes the file, wherever it is by now.
  void Remove() {
    if (!file_.has_value()) return;
    unlink(is_moved_ ? target_.c_str() : file_->path().c_str());
    file_.reset();
  }

 private:
  std::string target_;
  std::optional<PosixFile> file_;
  bool is_moved_ = false;
};

class PosixBundleFiles : public BundleFiles {
 public:
  explicit PosixBundleFiles(std::string prefix) : prefix_(std::move(prefix)) {}

  absl::Status Open() { return data_.Create(tensorflow::DataFilename(prefix_, 0, 1)); }

  bool is_sequential() const override { return false; }

  absl::Status ReserveData(int64_t size_bytes) override { return data_.file().Reserve(size_bytes); }

  absl::Status WriteData(int64_t offset, absl::string_view bytes) override {
    return data_.file().WriteAt(offset, bytes);
  }

  absl::Status Commit(absl::string_view index) override {
    StagedFile index_file;
    absl::Status status = data_.file().Sync();
    if (status.ok()) {
      status = index_file.Create(tensorflow::MetaFilename(prefix_));
    }
    if (status.ok()) status = index_file.file().WriteAt(0, index);
    if (status.ok()) status = index_file.file().Sync();
    if (status.ok()) status = data_.MoveToTarget();
    if (status.ok()) {
      status = index_file.MoveToTarget();
      if (!status.ok()) data_.Remove();
    }
    if (status.ok()) {
      status = SyncDirectory(std::string(tsl::io::Dirname(prefix_)));
    }
    return status;
  }

 private:
  const std::string prefix_;
  StagedFile data_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BundleFiles>> CreatePosixBundleFiles(const std::string& prefix) {
  auto files = std::make_unique<PosixBundleFiles>(prefix);
  if (absl::Status status = files->Open(); !status.ok()) return status;
  return files;
}

}  // namespace autodist
