// A file on its way to its name: written beside it, complete, synced, then renamed.

#include "storage/directory/staged_file.h"

#include <algorithm>
#include <utility>

#include "storage/temporary_name.h"
#include "threads/guarded.h"

namespace autodist {

StagedFile::StagedFile(SaveDirectory* directory, bool durable)
    : directory_(*directory), durable_(durable) {}

StagedFile::~StagedFile() {
  if (!is_moved_) Remove();
}

absl::Status StagedFile::Create(const std::string& name) {
  std::string chosen = name;
  if (!directory_.can_rename()) {
    // What was there is replaced when the new file is closed, if at all; it is not ours to remove.
    const auto names = directory_.List();
    was_there_before_ = names.ok() && std::find(names->begin(), names->end(), name) != names->end();
  }
  absl::StatusOr<std::unique_ptr<NewFile>> file;
  if (!directory_.can_rename()) {
    file = directory_.Create(chosen);
    if (file.ok()) name_ = std::move(chosen);
  } else {
    do {
      // Before it is made, so that it is removed also where what follows runs out of memory.
      name_ = TemporaryName(name);
      file = directory_.Create(name_);
    } while (absl::IsAlreadyExists(file.status()));
    if (!file.ok()) name_.clear();
  }
  if (!file.ok()) return file.status();
  file_ = *std::move(file);
  return absl::OkStatus();
}

absl::Status StagedFile::Finish() {
  absl::Status status;
  if (durable_) status = file_->Sync();
  if (status.ok()) status = file_->Finish();
  return status;
}

absl::Status StagedFile::MoveTo(const std::string& target) {
  if (name_ == target) {
    is_moved_ = true;
    return durable_ ? directory_.Sync() : absl::OkStatus();
  }
  // From the first step on nothing is thrown: what was begun is ended or undone.
  const std::string kept = TemporaryName(target);
  std::string moved = target;
  const absl::Status linked =
      durable_ ? Guarded([&] { return directory_.Link(target, kept); }) : absl::OkStatus();
  const bool is_kept = durable_ && linked.ok();
  absl::Status status = Guarded([&] { return directory_.Rename(name_, target); });
  if (status.ok()) {
    name_.swap(moved);
    is_moved_ = true;
    if (durable_) status = Guarded([&] { return directory_.Sync(); });
    if (!status.ok()) TakeBack(is_kept, absl::IsNotFound(linked), kept);
  }
  // After a rename back this finds nothing.
  if (is_kept) Guarded([&] { return directory_.Remove(kept); }).IgnoreError();
  return status;
}

// What can be undone for certain is undone; else the new file stays.
void StagedFile::TakeBack(bool is_kept, bool was_absent, const std::string& kept) {
  absl::Status status;
  if (is_kept) {
    status = Guarded([&] { return directory_.Rename(kept, name_); });
  } else if (was_absent) {
    status = Guarded([this] { return directory_.Remove(name_); });
  } else {
    return;
  }
  if (!status.ok()) return;
  file_.reset();
  name_.clear();
  // Until that is durable, the new file may still be what the disk has under the name.
  is_moved_ = !Guarded([this] { return directory_.Sync(); }).ok();
}

void StagedFile::Remove() {
  file_.reset();
  if (!name_.empty() && !was_there_before_ && process_.is_this()) {
    Guarded([this] { return directory_.Remove(name_); }).IgnoreError();
  }
  name_.clear();
}

}  // namespace autodist
