// Locks a prefix, so that two saves never write to it at the same time: neither their bundles, nor
// the files that Python writes beside them.

#include "storage/directory/prefix_lock.h"

#include <unistd.h>

#include <utility>

#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

// Another save may remove the directory that it made.
constexpr int kDirectoryAttempts = 3;

}  // namespace

PrefixLock::~PrefixLock() {
  lock_.reset();
  if (!made_directory_.empty() && process_.is_this()) rmdir(made_directory_.c_str());
}

absl::StatusOr<std::unique_ptr<PrefixLock>> PrefixLock::Acquire(const std::string& prefix,
                                                                bool durable) {
  const std::string path = PosixPath(prefix);
  std::unique_ptr<PrefixLock> lock(new PrefixLock);
  if (path.empty()) {
    // Neither is a directory needed nor are there locks between processes.
    auto held = NameLock::AcquireInProcess(prefix);
    if (!held.ok()) return held.status();
    lock->lock_ = *std::move(held);
    return lock;
  }
  const SplitPath split(path);
  absl::Status status;
  for (int attempt = 0; attempt < kDirectoryAttempts; ++attempt) {
    status = lock->Make(split.directory(), durable);
    if (!status.ok()) return status;
    auto directory = OpenPosixDirectory(split.directory());
    status = directory.status();
    if (status.ok()) {
      lock->directory_ = *std::move(directory);
      auto held = lock->directory_->Lock(split.name);
      if (held.ok()) {
        lock->lock_ = *std::move(held);
        return lock;
      }
      status = held.status();
    }
    if (!absl::IsNotFound(status)) return status;
  }
  return status;
}

absl::Status PrefixLock::Make(const std::string& directory, bool durable) {
  if (directory.empty()) return absl::OkStatus();
  // Before it is made: what needs memory may fail.
  std::string path = directory;
  const absl::Status made = tsl::Env::Default()->CreateDir(directory);
  if (absl::IsAlreadyExists(made)) return absl::OkStatus();
  if (!made.ok()) return made;
  made_directory_ = std::move(path);
  if (!durable) return absl::OkStatus();
  auto parent = SaveDirectory::OpenParent(directory);
  return parent.ok() ? (*parent)->Sync() : parent.status();
}

}  // namespace autodist
