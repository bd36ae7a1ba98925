// A directory on any file system TensorFlow knows (ram://, gs://, ...); its files are written in
// order.

#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/directory/save_directory.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/file_system.h"

namespace autodist {
namespace {

class EnvFile : public NewFile {
 public:
  EnvFile(std::string path, std::unique_ptr<tsl::WritableFile> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  absl::Status Reserve(int64_t) override { return absl::OkStatus(); }

  absl::Status WriteAt(int64_t offset, absl::string_view bytes) override {
    if (offset != position_) {
      return absl::InternalError(
          absl::StrCat(path_, ": bytes for offset ", offset, " came at position ", position_));
    }
    position_ += bytes.size();
    return file_->Append(bytes);
  }

  absl::Status Sync() override {
    absl::Status status = file_->Sync();
    // Sync is optional for a file system.
    return absl::IsUnimplemented(status) ? absl::OkStatus() : status;
  }

  absl::Status Finish() override { return file_->Close(); }

 private:
  const std::string path_;
  const std::unique_ptr<tsl::WritableFile> file_;
  int64_t position_ = 0;
};

class EnvDirectory : public SaveDirectory {
 public:
  EnvDirectory(std::string start, bool has_atomic_move)
      : env_(tsl::Env::Default()), start_(std::move(start)), has_atomic_move_(has_atomic_move) {}

  bool is_sequential() const override { return true; }

  bool can_rename() const override { return has_atomic_move_; }

  absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& name) override {
    std::unique_ptr<tsl::WritableFile> file;
    const absl::Status status = env_->NewWritableFile(start_ + name, &file);
    if (!status.ok()) return status;
    return std::unique_ptr<NewFile>(std::make_unique<EnvFile>(start_ + name, std::move(file)));
  }

  absl::StatusOr<std::unique_ptr<NameLock>> Lock(const std::string& name) override {
    return NameLock::AcquireInProcess(start_ + name);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    return env_->RenameFile(start_ + from, start_ + to);
  }

  absl::Status Link(const std::string& name, const std::string&) override {
    return absl::UnimplementedError(absl::StrCat(start_, name, ": its file system has no links"));
  }

  absl::Status Remove(const std::string& name) override { return env_->DeleteFile(start_ + name); }

  absl::StatusOr<std::vector<std::string>> List() override {
    std::vector<std::string> names;
    const absl::Status status = env_->GetChildren(SplitPath(start_).start, &names);
    if (!status.ok()) return status;
    return names;
  }

  bool Exists(const std::string& name) override { return env_->FileExists(start_ + name).ok(); }

  absl::Status Sync() override { return absl::OkStatus(); }

  absl::Status SyncFile(const std::string& name) override {
    return absl::UnimplementedError(absl::StrCat(start_, name, ": its file system cannot sync it"));
  }

  void RemoveIfAbandoned(const std::string&) override {}

 private:
  tsl::Env* const env_;
  const std::string start_;
  const bool has_atomic_move_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SaveDirectory>> OpenEnvDirectory(const std::string& start) {
  bool has_atomic_move = false;
  const absl::Status status = tsl::Env::Default()->HasAtomicMove(start, &has_atomic_move);
  if (!status.ok()) return status;
  return std::unique_ptr<SaveDirectory>(std::make_unique<EnvDirectory>(start, has_atomic_move));
}

}  // namespace autodist
