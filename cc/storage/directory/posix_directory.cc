// A directory on a POSIX file system, held open: every call is made relative to its descriptor.

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <ctime>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/directory/file_systems.h"
#include "storage/directory/save_directory.h"
#include "storage/posix/direct_writes.h"
#include "storage/posix/posix_io.h"
#include "storage/posix/scratch_directory.h"
#include "storage/temporary_name.h"

namespace autodist {
namespace {

// How long a file must be unchanged before it is removed, if its lock may not be visible here: a
// file of another kernel, or on a file system whose clients have locks of their own. Two mounts on
// one machine are two such clients.
constexpr time_t kForeignAgeSeconds = 3600;

bool IsSameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

class PosixNewFile : public NewFile {
 public:
  // `name` in `directory`, which is open for as long as this object lives.
  PosixNewFile(PosixFile file, bool in_order, int directory, std::string name)
      : file_(std::move(file)),
        in_order_(in_order),
        directory_(directory),
        name_(std::move(name)) {}

  absl::Status Reserve(int64_t size_bytes) override {
    return in_order_ ? absl::OkStatus() : file_.Reserve(size_bytes);
  }

  void WriteDirectly(int64_t size_bytes) override {
    if (in_order_ || !file_.WritesDirectly(size_bytes)) return;
    direct_ = DirectWrites::Open(directory_, name_, &file_, size_bytes);
  }

  absl::Status WriteAt(int64_t offset, absl::string_view bytes) override {
    if (direct_ != nullptr) return direct_->WriteAt(offset, bytes);
    if (!in_order_) {
      bool refused = false;
      absl::Status status = file_.WriteAt(offset, bytes, &refused);
      if (refused) refused_offset_ = true;
      return status;
    }
    if (offset != position_) {
      return InOrderOnly(absl::StrCat("cannot write ", bytes.size(), " bytes at offset ", offset,
                                      " of ", file_.path(), " after ", position_));
    }
    position_ += bytes.size();
    return file_.Append(bytes);
  }

  absl::Status Sync() override {
    absl::Status status = direct_ == nullptr ? absl::OkStatus() : direct_->Flush();
    return status.ok() ? file_.Sync() : status;
  }
  absl::Status Finish() override {
    absl::Status status = direct_ == nullptr ? absl::OkStatus() : direct_->Flush();
    return status.ok() ? file_.Finish() : status;
  }
  bool refused_offset() const override { return refused_offset_; }

 private:
  const PosixFile file_;
  const bool in_order_;
  const int directory_;
  const std::string name_;
  int64_t position_ = 0;  // used in order
  std::atomic<bool> refused_offset_{false};
  std::unique_ptr<DirectWrites> direct_;
};

// The file systems, by device, that were found to take bytes in order only. Never destroyed.
class SequentialDevices {
 public:
  static SequentialDevices& Get() {
    static auto* const devices = new SequentialDevices;
    return *devices;
  }

  void Add(dev_t device) {
    std::lock_guard<std::mutex> lock(mutex_);
    devices_.insert(device);
  }

  bool Has(dev_t device) {
    std::lock_guard<std::mutex> lock(mutex_);
    return devices_.count(device) > 0;
  }

 private:
  std::mutex mutex_;
  std::set<dev_t> devices_;
};

dev_t DeviceOf(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? status.st_dev : 0;
}

// Makes a directory durable that cannot be opened for reading, which fsync would need.
absl::Status SyncUnreadable(int directory, const std::string& path) {
  // The whole file system, through a file that has no name or is removed at once.
  constexpr int kFlags = O_WRONLY | O_CLOEXEC;
  int file = openat(directory, ".", kFlags | O_TMPFILE, 0600);
  if (file < 0) {
    const std::string name = TemporaryName("sync");
    file = openat(directory, name.c_str(), kFlags | O_CREAT | O_EXCL, 0600);
    if (file >= 0) unlinkat(directory, name.c_str(), 0);
  }
  const Descriptor opened(file);
  if (file < 0 || syncfs(file) != 0) return PosixError("cannot sync", path, errno);
  return absl::OkStatus();
}

class PosixDirectory : public SaveDirectory {
 public:
  PosixDirectory(std::string path, Descriptor descriptor)
      : path_(std::move(path)),
        descriptor_(std::move(descriptor)),
        device_(DeviceOf(descriptor_.get())),
        is_of_one_machine_(IsOfOneMachine(descriptor_.get())) {}

  bool is_sequential() const override { return SequentialDevices::Get().Has(device_); }

  void WriteInOrder() override { SequentialDevices::Get().Add(device_); }

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
    return std::unique_ptr<NewFile>(
        std::make_unique<PosixNewFile>(*std::move(file), is_sequential(), descriptor_.get(), name));
  }

  absl::StatusOr<std::unique_ptr<NameLock>> Lock(const std::string& name) override {
    return NameLock::Acquire(descriptor_.get(), path_, name);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    absl::Status status = CheckPath();
    if (!status.ok()) return status;
    const int directory = descriptor_.get();
    const int renamed =
        WithSpace([&] { return renameat(directory, from.c_str(), directory, to.c_str()); });
    if (renamed == 0) return absl::OkStatus();
    const int error = errno;
    if (error == EEXIST && ReplaceAside(from, to)) return absl::OkStatus();
    return PosixError(absl::StrCat("cannot rename ", PathOf(from), " to"), PathOf(to), error);
  }

  absl::Status Link(const std::string& name, const std::string& second) override {
    const int directory = descriptor_.get();
    const int linked =
        WithSpace([&] { return linkat(directory, name.c_str(), directory, second.c_str(), 0); });
    if (linked != 0) {
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

  absl::Status RemoveLarge(const std::string& name) override {
    // Over NFS a file that is referred to would get another name, and not be removed.
    if (!is_of_one_machine_) return Remove(name);
    RemovedFile removed(descriptor_.get(), name);
    absl::Status status = Remove(name);
    if (status.ok()) removed.LetGo();
    return status;
  }

  absl::StatusOr<std::vector<std::string>> List() override {
    const int descriptor = Uninterrupted(
        [this] { return openat(descriptor_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(
        descriptor < 0 ? nullptr : fdopendir(descriptor), closedir);
    if (stream == nullptr) {
      const int error = errno;
      if (descriptor >= 0) close(descriptor);
      return PosixError("cannot list", path_, error);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(stream.get())) {
      names.emplace_back(entry->d_name);
      errno = 0;
    }
    const int error = errno;
    if (error != 0) return PosixError("cannot list", path_, error);
    return names;
  }

  bool Exists(const std::string& name) override {
    struct stat status;
    return fstatat(descriptor_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  }

  absl::Status Sync() override {
    const int flags = fcntl(descriptor_.get(), F_GETFL);
    return flags >= 0 && (flags & O_PATH) != 0 ? SyncUnreadable(descriptor_.get(), path_)
                                               : SyncDescriptor(descriptor_.get(), path_);
  }

  absl::Status SyncFile(const std::string& name) override {
    const Descriptor file(openat(descriptor_.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) return PosixError("cannot open", PathOf(name), errno);
    return SyncDescriptor(file.get(), PathOf(name));
  }

  void RemoveIfAbandoned(const std::string& name) override {
    const int directory = descriptor_.get();
    struct stat named;
    if (fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0) return;
    const bool is_seen = is_of_one_machine_ && (IsOfThisBoot(name) || IsLockName(name));
    if (!is_seen && std::time(nullptr) - named.st_mtime < kForeignAgeSeconds) {
      return;
    }
    if (S_ISDIR(named.st_mode)) return RemoveScratchIfUnlocked(directory, name);
    // Writable, for a lock over NFS asks for that.
    const UninheritedDescriptor file([&] {
      return openat(directory, name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    });
    struct stat status, now;
    if (file.get() < 0 || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) return;
    if (fstatat(directory, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 &&
        IsSameFile(status, now)) {
      unlinkat(directory, name.c_str(), 0);
    }
  }

 private:
  // Whether all who see a file in the directory see its lock, too.
  static bool IsOfOneMachine(int descriptor) {
    struct statfs status;
    return fstatfs(descriptor, &status) == 0 &&
           KindOfFileSystem(static_cast<uint32_t>(status.f_type)) == FileSystemKind::kOneMachine;
  }

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

  // Replaces a file where a rename does not: not at one instant.
  bool ReplaceAside(const std::string& from, const std::string& to) const {
    const int directory = descriptor_.get();
    const std::string aside = TemporaryName(to);
    if (renameat(directory, to.c_str(), directory, aside.c_str()) != 0) return false;
    if (renameat(directory, from.c_str(), directory, to.c_str()) != 0) {
      renameat(directory, aside.c_str(), directory, to.c_str());
      return false;
    }
    unlinkat(directory, aside.c_str(), 0);
    return true;
  }

  const std::string path_;
  const Descriptor descriptor_;
  const dev_t device_;
  const bool is_of_one_machine_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SaveDirectory>> OpenPosixDirectory(const std::string& directory) {
  std::string path = directory.empty() ? "." : directory;
  Descriptor descriptor = OpenDirectory(AT_FDCWD, path);
  if (descriptor.get() < 0) return PosixError("cannot open directory", path, errno);
  return std::unique_ptr<SaveDirectory>(
      std::make_unique<PosixDirectory>(std::move(path), std::move(descriptor)));
}

}  // namespace autodist
