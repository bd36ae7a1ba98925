// See the header for the idea.

#include "bundle/name_lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <set>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "bundle/temporary_name.h"
#include "core/printable.h"

namespace autodist {
namespace {

// A temporary name (temporary_name.h) that every process makes the same, and of no boot.
constexpr absl::string_view kLockSuffix = ".autodist00000000-000000000000";

// Who removes a dead saver's file has it locked for an instant; that is no save.
constexpr int kAttempts = 5;
constexpr timespec kPause = {0, 1000000};

constexpr int64_t kMostHolderBytes = 300;

// What this process holds. Never destroyed.
struct Held {
  std::mutex mutex;
  std::set<int> files;
  std::set<std::string> keys;
};

Held& HeldHere() {
  static Held* const held = [] {
    auto* const made = new Held;
    // A forked child would keep the locks when its parent is killed.
    pthread_atfork([] { HeldHere().mutex.lock(); }, [] { HeldHere().mutex.unlock(); },
                   [] {
                     for (int file : HeldHere().files) close(file);
                     HeldHere().mutex.unlock();
                   });
    return made;
  }();
  return *held;
}

absl::Status Taken(const std::string& path, const std::string& holder) {
  return absl::AlreadyExistsError(absl::StrCat(
      holder.empty() ? "another save" : holder, " is saving to ", Printable(path),
      " at this time, and nothing was written here. Let one process save under a prefix, or give "
      "each a prefix of its own"));
}

std::string DescribeThisProcess() {
  std::array<char, 256> host = {};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return absl::StrCat("process ", getpid(), " on ", host.data());
}

std::string ReadHolder(int file) {
  std::array<char, kMostHolderBytes> text;
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  return size <= 0 ? "" : Printable(std::string(text.data(), size));
}

// For messages only: it may be cut off, or the file may be another user's.
void WriteHolder(int file) {
  const std::string text = DescribeThisProcess();
  if (ftruncate(file, 0) == 0) {
    [[maybe_unused]] const ssize_t written = pwrite(file, text.data(), text.size(), 0);
  }
}

int OpenLockFile(int directory, const char* name) {
  constexpr int kFlags = O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  const int file = Uninterrupted([=] { return openat(directory, name, O_RDWR | kFlags, 0666); });
  if (file >= 0 || errno != EACCES) return file;
  // What another user's dead process left can be locked all the same.
  const int left = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  // Where there is none, none may be made.
  if (left < 0 && errno == ENOENT) errno = EACCES;
  return left;
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

}  // namespace

bool IsLockName(const std::string& name) { return absl::EndsWith(name, kLockSuffix); }

NameLock::NameLock() : process_(getpid()) {}

NameLock::~NameLock() {
  if (process_ != getpid()) return;  // a child's copy, whose descriptors are closed
  // Tried again where it fails: it would stay in what is exported until somebody saves there.
  if (!file_name_.empty() && unlinkat(directory_.get(), file_name_.c_str(), 0) != 0) {
    unlinkat(directory_.get(), file_name_.c_str(), 0);
  }
  std::lock_guard<std::mutex> lock(HeldHere().mutex);
  HeldHere().files.erase(file_.get());
  HeldHere().keys.erase(key_);
  file_ = Descriptor(-1);
}

absl::StatusOr<std::unique_ptr<NameLock>> NameLock::AcquireInProcess(const std::string& path) {
  std::unique_ptr<NameLock> lock(new NameLock);
  std::lock_guard<std::mutex> guard(HeldHere().mutex);
  if (!HeldHere().keys.insert(path).second) return Taken(path, "another thread of this process");
  lock->key_ = path;
  return lock;
}

absl::StatusOr<std::unique_ptr<NameLock>> NameLock::Acquire(int directory,
                                                            const std::string& directory_path,
                                                            const std::string& name) {
  const std::string file_name = LockFileName(name);
  const std::string path = absl::StrCat(directory_path, "/", name);
  int attempts = 0;
  while (true) {
    Descriptor file(OpenLockFile(directory, file_name.c_str()));
    if (file.get() < 0) {
      return PosixError("cannot create", absl::StrCat(directory_path, "/", file_name), errno);
    }
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) {
        unlinkat(directory, file_name.c_str(), 0);
        return AcquireInProcess(path);
      }
      if (++attempts == kAttempts) return Taken(path, ReadHolder(file.get()));
      nanosleep(&kPause, nullptr);
      continue;
    }
    if (!IsNamed(file.get(), directory, file_name.c_str())) continue;
    WriteHolder(file.get());
    std::unique_ptr<NameLock> lock(new NameLock);
    lock->directory_ = Descriptor(fcntl(directory, F_DUPFD_CLOEXEC, 0));
    if (lock->directory_.get() < 0) {
      unlinkat(directory, file_name.c_str(), 0);
      return PosixError("cannot open directory", directory_path, errno);
    }
    lock->file_ = std::move(file);
    lock->file_name_ = file_name;
    std::lock_guard<std::mutex> guard(HeldHere().mutex);
    HeldHere().files.insert(lock->file_.get());
    return lock;
  }
}

}  // namespace autodist
