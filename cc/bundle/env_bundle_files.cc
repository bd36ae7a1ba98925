// Bundle files on any file system TensorFlow knows (ram://, gs://, ...),
// written in order.

#include <utility>

#include "absl/strings/str_cat.h"
#include "bundle/bundle_files.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/file_system.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"

namespace autodist {
namespace {

// A file being written, removed unless it was finished. On a file system that
// cannot rename atomically it has its final name from the start, as with stock
// TensorFlow.
class StagedEnvFile {
 public:
  explicit StagedEnvFile(tsl::Env* env) : env_(env) {}
  ~StagedEnvFile() {
    file_.reset();
    if (!path_.empty()) env_->DeleteFile(path_).IgnoreError();
  }
  StagedEnvFile(const StagedEnvFile&) = delete;
  StagedEnvFile& operator=(const StagedEnvFile&) = delete;

  absl::Status Create(std::string target, bool has_atomic_move) {
    std::string path = has_atomic_move ? TemporaryName(target) : target;
    absl::Status status = env_->NewWritableFile(path, &file_);
    if (status.ok()) {
      path_ = std::move(path);
      target_ = std::move(target);
    }
    return status;
  }

  absl::Status Append(absl::string_view bytes) { return file_->Append(bytes); }

  absl::Status Close() {
    absl::Status status = file_->Sync();
    // Sync is optional for a file system.
    if (absl::IsUnimplemented(status)) status = absl::OkStatus();
    if (status.ok()) status = file_->Close();
    return status;
  }

  absl::Status MoveToTarget() {
    absl::Status status;
    if (path_ != target_) status = env_->RenameFile(path_, target_);
    if (status.ok()) path_.clear();
    return status;
  }

 private:
  tsl::Env* const env_;
  std::unique_ptr<tsl::WritableFile> file_;
  std::string path_;
  std::string target_;
};

class EnvBundleFiles : public BundleFiles {
 public:
  explicit EnvBundleFiles(std::string prefix)
      : env_(tsl::Env::Default()), prefix_(std::move(prefix)), data_(env_) {}

  absl::Status Open() {
    absl::Status status = env_->HasAtomicMove(prefix_, &has_atomic_move_);
    if (!status.ok()) return status;
    return data_.Create(tensorflow::DataFilename(prefix_, 0, 1), has_atomic_move_);
  }

  bool is_sequential() const override { return true; }

  absl::Status ReserveData(int64_t) override { return absl::OkStatus(); }

  absl::Status WriteData(int64_t offset, absl::string_view bytes) override {
    if (offset != position_) {
      return absl::InternalError(absl::StrCat("data file of ", prefix_, ": bytes for offset ",
                                              offset, " came at position ", position_));
    }
    position_ += bytes.size();
    return data_.Append(bytes);
  }

  absl::Status Commit(absl::string_view index) override {
    StagedEnvFile index_file(env_);
    absl::Status status = data_.Close();
    if (status.ok()) {
      status = index_file.Create(tensorflow::MetaFilename(prefix_), has_atomic_move_);
    }
    if (status.ok()) status = index_file.Append(index);
    if (status.ok()) status = index_file.Close();
    if (status.ok()) status = data_.MoveToTarget();
    if (status.ok()) status = index_file.MoveToTarget();
    return status;
  }

 private:
  tsl::Env* const env_;
  const std::string prefix_;
  bool has_atomic_move_ = false;
  int64_t position_ = 0;
  StagedEnvFile data_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BundleFiles>> CreateEnvBundleFiles(const std::string& prefix) {
  auto files = std::make_unique<EnvBundleFiles>(prefix);
  if (absl::Status status = files->Open(); !status.ok()) return status;
  return files;
}

}  // namespace autodist
