// Keeps two saves from writing under one name at the same time. The header tells how.

#include "storage/posix/name_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <set>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/printable.h"
#include "storage/temporary_name.h"
#include "tensorflow/core/platform/logging.h"

namespace autodist {
namespace {

// A temporary name (temporary_name.h) that every process makes the same, and of no boot.
constexpr absl::string_view kLockSuffix = ".autodist00000000-000000000000";

// Who removes a dead saver's file has it locked for an instant, longer where the machine is busy;
// that is no save. So few attempts are enough only where a saver that lives is known to have it.
constexpr int kAttemptsAtALiveSaver = 5;
constexpr int kAttempts = 200;
constexpr timespec kPause = {0, 1000000};

constexpr int64_t kMostHolderBytes = 300;

// The keys that this process holds. Never destroyed.
struct HeldKeys {
  std::mutex mutex;
  std::set<std::string> keys;
};

HeldKeys& KeysHeldHere() {
  static HeldKeys* const held = new HeldKeys;
  return *held;
}

absl::Status Taken(const std::string& path, const std::string& holder) {
  return absl::AlreadyExistsError(absl::StrCat(
      holder.empty() ? "another save" : holder, " is saving to ", Printable(path),
      " at this time, and nothing was written here. Let one process save under a prefix, or give "
      "each a prefix of its own"));
}

std::string DescribeProcess(pid_t process) {
  std::array<char, 256> host = {};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return absl::StrCat("process ", process, " on ", host.data());
}

std::string ReadHolder(int file) {
  std::array<char, kMostHolderBytes> text;
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  return size <= 0 ? "" : Printable(std::string(text.data(), size));
}

// Whether a holder is a process of this machine that has not ended.
bool IsAliveHere(const std::string& holder) {
  int process = 0;
  return std::sscanf(holder.c_str(), "process %d on ", &process) == 1 && process > 0 &&
         holder == DescribeProcess(process) && (kill(process, 0) == 0 || errno == EPERM);
}

// For messages only: it may be cut off, or the file may be another user's.
void WriteHolder(int file, const std::string& text) {
  if (ftruncate(file, 0) == 0) {
    [[maybe_unused]] const ssize_t written = pwrite(file, text.data(), text.size(), 0);
  }
}

struct LockFile {
  UninheritedDescriptor file;
  bool is_new = false;  // made by this process, at this time
  bool is_writable = true;
};

// Without a file: errno says why.
LockFile OpenLockFile(int directory, const char* name) {
  constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  LockFile opened;
  const auto make_or_find = [&] {
    while (true) {
      const int made = Uninterrupted(
          [&] { return openat(directory, name, O_RDWR | O_CREAT | O_EXCL | kFlags, 0666); });
      opened.is_new = made >= 0;
      if (made >= 0 || errno != EEXIST) return made;
      const int found = Uninterrupted([&] { return openat(directory, name, O_RDWR | kFlags); });
      // Unless it was removed between the two.
      if (found >= 0 || errno != ENOENT) return found;
    }
  };
  opened.file = UninheritedDescriptor(make_or_find);
  if (const int error = errno; opened.file.get() < 0) {
    if (HasSpaceNow(error)) {
      opened.file = UninheritedDescriptor(make_or_find);
    } else {
      errno = error;
    }
  }
  if (opened.file.get() < 0 && errno == EACCES) {
    // What another user's dead process left can be locked all the same.
    opened.is_writable = false;
    opened.file = UninheritedDescriptor([&] { return openat(directory, name, O_RDONLY | kFlags); });
    // Where there is none, none may be made.
    if (opened.file.get() < 0 && errno == ENOENT) errno = EACCES;
  }
  return opened;
}

// The same for one name in every process; not cut off alike for two long ones.
std::string LockFileName(const std::string& name) {
  constexpr size_t kSumDigits = 8;
  const absl::string_view kept = ShortenedFor(name, kSumDigits + kLockSuffix.size());
  if (kept.size() == name.size()) return absl::StrCat(name, kLockSuffix);
  const auto sum = static_cast<uint32_t>(absl::ComputeCrc32c(name));
  return absl::StrCat(kept, absl::Hex(sum, absl::kZeroPad8), kLockSuffix);
}

bool IsNamed(int file, int directory, const char* name) {
  struct stat opened, named;
  return fstat(file, &opened) == 0 && fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

// Locks a file. Returns 0 or an errno value.
int LockNow(const LockFile& opened) {
  int operation = LOCK_EX;
  while (flock(opened.file.get(), operation | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    // NFS wants a file that can be written to. A shared lock still keeps the file's owner out, and
    // cannot be had while another saves.
    if (errno != EBADF || opened.is_writable || operation == LOCK_SH) return errno;
    operation = LOCK_SH;
  }
  return 0;
}

// Removes a file that this process made and could not lock, unless somebody else has locked it:
// that one writes into it.
void RemoveNew(const LockFile& opened, int directory, const char* name) {
  struct stat status;
  if (!opened.is_new || fstat(opened.file.get(), &status) != 0 || status.st_size != 0) return;
  if (IsNamed(opened.file.get(), directory, name)) unlinkat(directory, name, 0);
}

void LogWithoutLocks(const std::string& directory, int error) {
  static std::once_flag once;
  std::call_once(once, [&] {
    LOG(WARNING)
        << "autodist: files in " << Printable(directory) << " cannot be locked ("
        << absl::ErrnoToStatus(error, "flock").message()
        << "); saving without a lock. Threads of this process keep each other out, but two "
           "processes must not save under one prefix at the same time.";
  });
}

}  // namespace

bool IsLockName(const std::string& name) { return absl::EndsWith(name, kLockSuffix); }

NameLock::~NameLock() {
  if (!process_.is_this()) return;  // a child's copy: the lock is its parent's
  // Tried again where it fails: it would stay in what is exported until somebody saves there.
  if (!file_name_.empty() && unlinkat(directory_.get(), file_name_.c_str(), 0) != 0) {
    unlinkat(directory_.get(), file_name_.c_str(), 0);
  }
  file_.Close();
  const std::lock_guard<std::mutex> lock(KeysHeldHere().mutex);
  KeysHeldHere().keys.erase(key_);
}

absl::StatusOr<std::unique_ptr<NameLock>> NameLock::AcquireInProcess(const std::string& path) {
  std::unique_ptr<NameLock> lock(new NameLock);
  std::string key = path;
  const std::lock_guard<std::mutex> guard(KeysHeldHere().mutex);
  if (!KeysHeldHere().keys.insert(path).second) {
    return Taken(path, "another thread of this process");
  }
  lock->key_ = std::move(key);
  return lock;
}

absl::StatusOr<std::unique_ptr<NameLock>> NameLock::Acquire(int directory,
                                                            const std::string& directory_path,
                                                            const std::string& name) {
  std::string file_name = LockFileName(name);
  const std::string path = absl::StrCat(directory_path, "/", name);
  const std::string file_path = absl::StrCat(directory_path, "/", file_name);
  const std::string holder = DescribeProcess(getpid());
  // All that needs memory comes before the file has a lock, which would be left else.
  std::unique_ptr<NameLock> lock(new NameLock);
  lock->directory_ = Descriptor(fcntl(directory, F_DUPFD_CLOEXEC, 0));
  if (lock->directory_.get() < 0) return PosixError("cannot open directory", directory_path, errno);
  int attempts = 0;
  while (true) {
    LockFile opened = OpenLockFile(directory, file_name.c_str());
    if (opened.file.get() < 0) return PosixError("cannot create", file_path, errno);
    const int error = LockNow(opened);
    if (error == 0) {
      WriteHolder(opened.file.get(), holder);
      if (!IsNamed(opened.file.get(), directory, file_name.c_str())) continue;
      lock->file_ = std::move(opened.file);
      lock->file_name_ = std::move(file_name);
      return lock;
    }
    if (error == EWOULDBLOCK) {
      const std::string taker = ReadHolder(opened.file.get());
      if (++attempts >= (IsAliveHere(taker) ? kAttemptsAtALiveSaver : kAttempts)) {
        return Taken(path, taker);
      }
      nanosleep(&kPause, nullptr);
      continue;
    }
    // What others made stays: they may have it locked.
    RemoveNew(opened, directory, file_name.c_str());
    LogWithoutLocks(directory_path, error);
    return AcquireInProcess(path);
  }
}

}  // namespace autodist
