// A directory of which one call fails, for tests.

#ifndef AUTODIST_STORAGE_TESTING_FAULTY_FILE_SYSTEM_H_
#define AUTODIST_STORAGE_TESTING_FAULTY_FILE_SYSTEM_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/directory/save_directory.h"

namespace autodist::testing {

// Counts the calls made through it, from 1; one of them, or all from one on, fail without being
// made.
class FaultyFileSystem {
 public:
  // 0: none.
  int failing_call = 0;
  // Whether the process is as good as dead from that call on: nothing is done any more.
  bool is_dead_after = false;
  // Whether files have their final names from the start, as on an object store.
  bool can_rename = true;

  // What was called, in order.
  std::vector<std::string> calls;

  std::unique_ptr<SaveDirectory> Wrap(std::unique_ptr<SaveDirectory> directory);

 private:
  friend class FaultyDirectory;
  friend class FaultyFile;

  absl::Status Count(const std::string& call) {
    calls.push_back(call);
    const int number = static_cast<int>(calls.size());
    const bool fails =
        number == failing_call || (is_dead_after && failing_call > 0 && number > failing_call);
    return fails ? absl::UnknownError("the disk is broken") : absl::OkStatus();
  }
};

class FaultyFile : public NewFile {
 public:
  FaultyFile(FaultyFileSystem* faults, std::unique_ptr<NewFile> file)
      : faults_(*faults), file_(std::move(file)) {}

  absl::Status Reserve(int64_t size_bytes) override {
    const absl::Status status = faults_.Count("reserve");
    return status.ok() ? file_->Reserve(size_bytes) : status;
  }
  absl::Status WriteAt(int64_t offset, absl::string_view bytes) override {
    const absl::Status status = faults_.Count("write");
    return status.ok() ? file_->WriteAt(offset, bytes) : status;
  }
  absl::Status Sync() override {
    const absl::Status status = faults_.Count("sync");
    return status.ok() ? file_->Sync() : status;
  }
  absl::Status Finish() override {
    const absl::Status status = faults_.Count("finish");
    return status.ok() ? file_->Finish() : status;
  }

 private:
  FaultyFileSystem& faults_;
  const std::unique_ptr<NewFile> file_;
};

class FaultyDirectory : public SaveDirectory {
 public:
  FaultyDirectory(FaultyFileSystem* faults, std::unique_ptr<SaveDirectory> directory)
      : faults_(*faults), directory_(std::move(directory)) {}

  bool is_sequential() const override { return directory_->is_sequential(); }
  bool can_rename() const override { return faults_.can_rename && directory_->can_rename(); }

  absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& name) override {
    if (absl::Status status = faults_.Count("create"); !status.ok()) return status;
    if (!can_rename()) directory_->Remove(name).IgnoreError();
    auto file = directory_->Create(name);
    if (!file.ok()) return file.status();
    return std::unique_ptr<NewFile>(std::make_unique<FaultyFile>(&faults_, *std::move(file)));
  }
  absl::StatusOr<std::unique_ptr<NameLock>> Lock(const std::string& name) override {
    if (absl::Status status = faults_.Count("lock"); !status.ok()) return status;
    return directory_->Lock(name);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    const absl::Status status = faults_.Count("rename");
    return status.ok() ? directory_->Rename(from, to) : status;
  }
  absl::Status Link(const std::string& name, const std::string& second) override {
    const absl::Status status = faults_.Count("link");
    return status.ok() ? directory_->Link(name, second) : status;
  }
  absl::Status Remove(const std::string& name) override {
    const absl::Status status = faults_.Count("remove");
    return status.ok() ? directory_->Remove(name) : status;
  }
  absl::Status RemoveLarge(const std::string& name) override {
    const absl::Status status = faults_.Count("remove");
    return status.ok() ? directory_->RemoveLarge(name) : status;
  }
  absl::StatusOr<std::vector<std::string>> List() override {
    if (absl::Status status = faults_.Count("list"); !status.ok()) return status;
    return directory_->List();
  }
  bool Exists(const std::string& name) override { return directory_->Exists(name); }
  absl::Status Sync() override {
    const absl::Status status = faults_.Count("sync directory");
    return status.ok() ? directory_->Sync() : status;
  }
  absl::Status SyncFile(const std::string& name) override {
    const absl::Status status = faults_.Count("sync file");
    return status.ok() ? directory_->SyncFile(name) : status;
  }
  void RemoveIfAbandoned(const std::string& name) override {
    if (faults_.Count("remove abandoned").ok()) directory_->RemoveIfAbandoned(name);
  }

 private:
  FaultyFileSystem& faults_;
  const std::unique_ptr<SaveDirectory> directory_;
};

inline std::unique_ptr<SaveDirectory> FaultyFileSystem::Wrap(
    std::unique_ptr<SaveDirectory> directory) {
  return std::make_unique<FaultyDirectory>(this, std::move(directory));
}

}  // namespace autodist::testing

#endif  // AUTODIST_STORAGE_TESTING_FAULTY_FILE_SYSTEM_H_
