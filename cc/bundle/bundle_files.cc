// Chooses the kind of file, and owns the directory a failed save leaves behind.

#include "bundle/bundle_files.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/path.h"
#include "tsl/platform/random.h"

namespace autodist {
namespace {

// Removes the directory it made unless the files in it were committed.
class FilesInNewDirectory : public BundleFiles {
 public:
  explicit FilesInNewDirectory(std::string directory) : directory_(std::move(directory)) {}

  ~FilesInNewDirectory() override {
    files_.reset();
    if (!is_committed_) {
      tsl::Env::Default()->DeleteDir(directory_).IgnoreError();
    }
  }

  absl::Status Open(absl::StatusOr<std::unique_ptr<BundleFiles>> files) {
    if (files.ok()) files_ = *std::move(files);
    return files.status();
  }

  bool is_sequential() const override { return files_->is_sequential(); }

  absl::Status ReserveData(int64_t size_bytes) override { return files_->ReserveData(size_bytes); }

  absl::Status WriteData(int64_t offset, absl::string_view bytes) override {
    return files_->WriteData(offset, bytes);
  }

  absl::Status Commit(absl::string_view index) override {
    absl::Status status = files_->Commit(index);
    is_committed_ = status.ok();
    return status;
  }

 private:
  const std::string directory_;
  std::unique_ptr<BundleFiles> files_;
  bool is_committed_ = false;
};

// `prefix` as a path for system calls when it is one, else "".
std::string PosixPath(const std::string& prefix) {
  absl::string_view scheme, host, path;
  tsl::io::ParseURI(prefix, &scheme, &host, &path);
  if (scheme.empty()) return prefix;
  return scheme == "file" ? std::string(path) : "";
}

absl::StatusOr<std::unique_ptr<BundleFiles>> CreateFiles(const std::string& prefix) {
  const std::string path = PosixPath(prefix);
  return path.empty() ? CreateEnvBundleFiles(prefix) : CreatePosixBundleFiles(path);
}

}  // namespace

std::string TemporaryName(const std::string& path) {
  return absl::StrCat(path, ".tempstate", tsl::random::New64());
}

absl::StatusOr<std::unique_ptr<BundleFiles>> BundleFiles::Create(const std::string& prefix) {
  if (prefix.empty()) {
    return absl::InvalidArgumentError("the prefix of a checkpoint is empty");
  }
  const std::string directory(tsl::io::Dirname(prefix));
  const absl::Status made = tsl::Env::Default()->CreateDir(directory);
  if (absl::IsAlreadyExists(made)) return CreateFiles(prefix);
  if (!made.ok()) return made;
  auto files = std::make_unique<FilesInNewDirectory>(directory);
  if (absl::Status status = files->Open(CreateFiles(prefix)); !status.ok()) {
    return status;
  }
  return files;
}

}  // namespace autodist
