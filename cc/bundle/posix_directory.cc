// A directory on a POSIX file system, held open: every call is made relative to its descriptor.

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bundle/posix_io.h"
#include "bundle/save_directory.h"
#include "bundle/scratch_directory.h"
#include "bundle/temporary_name.h"

namespace autodist {
namespace {

// For how long a file of another kernel's must have been left alone: its lock may not be seen here.
constexpr time_t kForeignAgeSeconds = 3600;

bool IsSameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

class PosixNewFile : public NewFile {
 public:
  explicit PosixNewFile(PosixFile file) : file_(std::move(file)) {}
  absl::Status Reserve(int64_t size_bytes) override { return file_.Reserve(size_bytes); }
  absl::Status WriteAt(int64_t offset, absl::string_view bytes) override {
    return file_.WriteAt(offset, bytes);
  }
  absl::Status Sync() override { return file_.Sync(); }
  absl::Status Finish() override { return file_.Finish(); }

 private:
  const PosixFile file_;
};

class PosixDirectory : public SaveDirectory {
 public:
  PosixDirectory(std::string path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  bool is_sequential() const override { return false; }

  bool can_rename() const override { return true; }

  absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& name) override {
    absl::StatusOr<PosixFile> file = PosixFile::Create(descriptor_.get(), name, PathOf(name));
    if (!file.ok()) return file.status();
    // Before the lock is held another saver may take the file for abandoned.
    if (file->Lock()) {
      struct stat status;
      if (fstatat(descriptor_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 &&
          errno == ENOENT) {
        return PosixError("another process removed", PathOf(name), EEXIST);
      }
    }
    return std::unique_ptr<NewFile>(std::make_unique<PosixNewFile>(*std::move(file)));
  }

  absl::StatusOr<std::unique_ptr<NameLock>> Lock(const std::string& name) override {
    return NameLock::Acquire(descriptor_.get(), path_, name);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    absl::Status status = CheckPath();
    if (!status.ok()) return status;
    const int directory = descriptor_.get();
    if (renameat(directory, from.c_str(), directory, to.c_str()) != 0) {
      return PosixError(absl::StrCat("cannot rename ", PathOf(from), " to"), PathOf(to), errno);
    }
    return absl::OkStatus();
  }

  absl::Status Link(const std::string& name, const std::string& second) override {
    const int directory = descriptor_.get();
    if (linkat(directory, name.c_str(), directory, second.c_str(), 0) != 0) {
      return PosixError("cannot link", PathOf(name), errno);
    }
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& name) override {
    if (unlinkat(descriptor_.get(), name.c_str(), 0) != 0) {
      return PosixError("cannot remove", PathOf(name), errno);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> List() override {
    const int descriptor = openat(descriptor_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const stream = descriptor < 0 ? nullptr : fdopendir(descriptor);
    if (stream == nullptr) {
      const int error = errno;
      if (descriptor >= 0) close(descriptor);
      return PosixError("cannot list", path_, error);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(stream)) {
      names.emplace_back(entry->d_name);
      errno = 0;
    }
    const int error = errno;
    closedir(stream);
    if (error != 0) return PosixError("cannot list", path_, error);
    return names;
  }

  absl::Status Sync() override { return SyncDescriptor(descriptor_.get(), path_); }

  absl::Status SyncFile(const std::string& name) override {
    const Descriptor file(openat(descriptor_.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) return PosixError("cannot open", PathOf(name), errno);
    return SyncDescriptor(file.get(), PathOf(name));
  }

  void RemoveIfAbandoned(const std::string& name) override {
    const int directory = descriptor_.get();
    struct stat named;
    if (fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (!IsOfThisBoot(name) && !IsLockName(name) &&
        std::time(nullptr) - named.st_mtime < kForeignAgeSeconds) {
      return;
    }
    if (S_ISDIR(named.st_mode)) return RemoveScratchIfUnlocked(directory, name);
    // Writable, for a lock over NFS asks for that.
    const Descriptor file(
        openat(directory, name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status, now;
    if (file.get() < 0 || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) return;
    if (fstatat(directory, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 &&
        IsSameFile(status, now)) {
      unlinkat(directory, name.c_str(), 0);
    }
  }

 private:
  std::string PathOf(const std::string& name) const { return absl::StrCat(path_, "/", name); }

  // Whether the path still leads to the directory that is open.
  absl::Status CheckPath() const {
    struct stat opened, named;
    if (fstat(descriptor_.get(), &opened) != 0 || stat(path_.c_str(), &named) != 0) {
      return PosixError("cannot find directory", path_, errno);
    }
    if (IsSameFile(opened, named)) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("another directory was put in the place of ", path_, " during the save"));
  }

  const std::string path_;
  const Descriptor descriptor_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SaveDirectory>> OpenPosixDirectory(const std::string& directory) {
  std::string path = directory.empty() ? "." : directory;
  Descriptor descriptor(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0) return PosixError("cannot open directory", path, errno);
  return std::unique_ptr<SaveDirectory>(
      std::make_unique<PosixDirectory>(std::move(path), std::move(descriptor)));
}

}  // namespace autodist
