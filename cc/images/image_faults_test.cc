// Each system call of an image fails, once or from some time on: whoever writes to the memory goes
// on, the image is right or says that it is not, and it leaves nothing.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "images/copied_image.h"
#include "images/forked_image.h"
#include "images/protected_image.h"
#include "images/testing/failing_calls.h"
#include "images/testing/testing_buffers.h"

namespace autodist {
namespace {

using testing::Buffers;
using testing::FailingCall;
using testing::ReadAll;
using testing::Writers;
using MakeImage = std::function<std::unique_ptr<MemoryImage>()>;

struct Way {
  std::string name;
  MakeImage make;
  std::vector<std::string> calls;  // that it makes, each at least once
};

std::unique_ptr<MemoryImage> Protected(int64_t pool_bytes) {
  ProtectionOptions options;
  options.grain_bytes = 64 << 10;
  options.pool_bytes = pool_bytes;
  options.spill_directory = "/var/tmp";
  return std::make_unique<ProtectedImage>(options);
}

std::vector<Way> Ways() {
  std::vector<Way> ways;
  ways.push_back(
      {"copy", [] { return std::make_unique<CopiedImage>(int64_t{1} << 30); }, {"mmap"}});
  ways.push_back({"fork",
                  [] { return std::make_unique<ForkedImage>(); },
                  {"fopen", "process_vm_readv", "pipe2", "clone", "write"}});
  PageGuard guard;
  if (!guard.Open().ok()) return ways;
  // UFFDIO_WAKE is made only by chance.
  ways.push_back({"pages",
                  [] { return Protected(64 << 20); },
                  {"fopen", "userfaultfd", "UFFDIO_API", "open", "mmap", "UFFDIO_REGISTER",
                   "pthread_create", "UFFDIO_WRITEPROTECT", "poll", "read", "UFFDIO_UNREGISTER"}});
  ways.push_back({"pages and a file", [] { return Protected(256 << 10); }, {"pwrite", "pread"}});
  return ways;
}

std::set<std::string> NamesIn(const char* directory) {
  std::set<std::string> names;
  DIR* const opened = opendir(directory);
  const std::string own = std::to_string(dirfd(opened));
  while (const dirent* entry = readdir(opened)) {
    if (entry->d_name != own) names.insert(entry->d_name);
  }
  closedir(opened);
  return names;
}

// Whether some memory of this process is watched by a userfaultfd.
bool IsWatched() {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  while (std::getline(maps, line)) {
    if (!absl::StartsWith(line, "VmFlags:")) continue;
    if (absl::StrContains(line, " um") || absl::StrContains(line, " uw")) return true;
  }
  return false;
}

// What an image may leave behind.
struct Traces {
  std::set<std::string> descriptors = NamesIn("/proc/self/fd");
  std::set<std::string> threads = NamesIn("/proc/self/task");
};

void Check(bool is_right, const std::string& text) {
  if (is_right) return;
  std::fprintf(stderr, "%s\n", text.c_str());
  EXPECT_TRUE(is_right);
}

// The traces once there are no more threads than before: the one that moves memory to huge pages
// ends soon after the image.
Traces TracesAfter(const Traces& before) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (Traces().threads != before.threads && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return Traces();
}

void ExpectNothingLeft(const Traces& before, const std::string& fault) {
  const Traces after = TracesAfter(before);
  Check(before.descriptors == after.descriptors, fault + ": left a descriptor");
  Check(before.threads == after.threads, fault + ": left a thread");
  Check(!IsWatched(), fault + ": left memory that is watched");
  Check(waitpid(-1, nullptr, __WALL | WNOHANG) == -1 && errno == ECHILD, fault + ": left a child");
}

const std::vector<int64_t> kSizes = {(4 << 20) + 100, 300, 300001, 0, 9000};

// One image, under a fault or none. Returns whether the fault occurred.
bool TakeAndRead(const Way& way, const std::string& call, int number, bool and_all_after,
                 int error) {
  const std::string fault =
      absl::StrCat(way.name, ", ", call, " number ", number, and_all_after ? " and on" : "",
                   " fails with ", strerrorname_np(error));
  Buffers buffers(kSizes);
  buffers.Fill(5);
  const std::vector<std::string> wanted = buffers.Contents();
  const Traces before;
  int failures = 0;
  {
    std::unique_ptr<MemoryImage> image = way.make();
    Writers writers(buffers, /*begins=*/false);
    FailingCall failing(call, number, and_all_after, error);
    absl::Status status = image->Prepare(buffers.ranges());
    if (status.ok()) status = image->Take(buffers.ranges());
    writers.Begin();
    Check(writers.Await(), fault + ": whoever writes waits for ever");
    std::vector<std::string> found;
    if (status.ok()) {
      status = ReadAll(image.get(), buffers.ranges(), 10007, &found);
      Check(writers.Await(), fault + ": whoever writes waits for ever");
      status.Update(image->Finish());
    }
    failures = failing.failures();
    Check(!status.ok() || found == wanted, fault + ": the image is wrong");
    Check(status.ok() || failures > 0, absl::StrCat(fault, ": ", status.ToString()));
    image.reset();
    Check(writers.Await(), fault + ": whoever writes waits for ever after the end");
  }
  ExpectNothingLeft(before, fault);
  return failures > 0;
}

TEST(WhateverFailsTrainingGoesOnAndTheImageIsRightOrSaysSo) {
  for (const Way& way : Ways()) {
    TakeAndRead(way, "", 1, false, 0);
    for (const std::string& call : testing::CallNames()) {
      if (call.empty()) continue;
      const bool occurred = TakeAndRead(way, call, 1, true, EPERM);
      const bool is_made = std::find(way.calls.begin(), way.calls.end(), call) != way.calls.end();
      Check(occurred || !is_made, absl::StrCat(way.name, " never calls ", call));
      if (!occurred) continue;
      for (const int number : {1, 3}) {
        for (const bool and_all_after : {false, true}) {
          TakeAndRead(way, call, number, and_all_after, ENOMEM);
        }
      }
      for (const int error : {EINTR, EAGAIN}) TakeAndRead(way, call, 2, false, error);
      for (const int error : {EBADF, ENOSPC}) TakeAndRead(way, call, 2, true, error);
    }
  }
}

}  // namespace
}  // namespace autodist
