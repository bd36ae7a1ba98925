// Removes the name of a large file without waiting until its bytes are freed. The header tells how.

#include "storage/posix/removed_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "storage/posix/uninherited_descriptor.h"

namespace autodist {
namespace {

// Below this a thread costs more than it saves.
constexpr off_t kLeastBytes = 4 << 20;
constexpr size_t kPageBytes = 4096;
// A disk that frees nothing for so long is not waited for.
constexpr std::chrono::seconds kLongestWait(60);

// Files that threads are letting go of. None in a forked child: it has not these threads.
std::atomic<int> pending{0};

void ForgetInChildren() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { pending = 0; });
  static_cast<void>(registered);
}

// A page of a large file that is about to be freed, or null. The caller has it to itself: no fork
// comes between.
void* MapPage(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 1 ||
      status.st_size < kLeastBytes) {
    return nullptr;
  }
  void* const page = mmap(nullptr, kPageBytes, PROT_NONE, MAP_SHARED, descriptor, 0);
  if (page == MAP_FAILED) return nullptr;
  if (madvise(page, kPageBytes, MADV_DONTFORK) == 0) return page;
  munmap(page, kPageBytes);
  return nullptr;
}

}  // namespace

RemovedFile::RemovedFile(int directory, const std::string& name) {
  const UninheritedDescriptor file([&] {
    const int opened =
        openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (opened >= 0) page_ = MapPage(opened);
    return opened;
  });
}

RemovedFile::~RemovedFile() {
  if (page_ != nullptr) munmap(page_, kPageBytes);
}

void RemovedFile::LetGo() {
  if (page_ == nullptr) return;
  ForgetInChildren();
  ++pending;
  try {
    // Ended with the process, wherever it is.
    std::thread([page = page_] {
      munmap(page, kPageBytes);
      --pending;
    }).detach();
    page_ = nullptr;
  } catch (...) {
    // At the limit of threads, or of memory.
    --pending;
  }
}

bool AwaitRemovedFiles() {
  if (pending == 0) return false;
  const auto until = std::chrono::steady_clock::now() + kLongestWait;
  while (pending > 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

bool HasSpaceNow(int error) { return (error == ENOSPC || error == EDQUOT) && AwaitRemovedFiles(); }

}  // namespace autodist
