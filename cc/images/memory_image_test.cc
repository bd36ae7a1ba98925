#include "images/memory_image.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/testing/testing.h"
#include "images/copied_image.h"
#include "images/forked_image.h"
#include "images/protected_image.h"
#include "images/testing/testing_buffers.h"

namespace autodist {
namespace {

using testing::Buffers;
using testing::ReadAll;
using testing::Writers;
using MakeImage = std::function<std::unique_ptr<MemoryImage>()>;

ProtectionOptions Options(int64_t grain, int64_t pool, const std::string& spill = "") {
  ProtectionOptions options;
  options.grain_bytes = grain;
  options.pool_bytes = pool;
  options.spill_directory = spill;
  return options;
}

std::unique_ptr<MemoryImage> Protected(const ProtectionOptions& options) {
  return std::make_unique<ProtectedImage>(options);
}

// Each way that takes the memory there is. A machine that has no userfaultfd tries the others.
std::vector<MakeImage> AllImages() {
  std::vector<MakeImage> all = {[] { return std::make_unique<CopiedImage>(int64_t{1} << 40); },
                                [] { return std::make_unique<ForkedImage>(); }};
  PageGuard guard;
  if (!guard.Open().ok()) return all;
  all.push_back([] { return Protected(Options(0, 64 << 20)); });
  all.push_back([] { return Protected(Options(4096, 64 << 20)); });
  all.push_back([] { return Protected(Options(64 << 10, 64 << 20)); });
  all.push_back([] { return Protected(Options(2 << 20, 64 << 20)); });
  all.push_back([] { return Protected(Options(64 << 10, 256 << 10, "/var/tmp")); });
  all.push_back([] { return Protected(Options(64 << 10, 0, "/var/tmp")); });
  return all;
}

const std::vector<int64_t> kSizes = {5 << 20, 300, 1 << 20, 0, 700001, 4096, (3 << 20) + 5};

void ExpectOk(const absl::Status& status) { EXPECT_EQ(status.ToString(), "OK"); }

TEST(WhatIsReadIsWhatWasThereAtTheInstant) {
  for (const MakeImage& make : AllImages()) {
    for (const int64_t piece : {int64_t{1} << 20, int64_t{10007}}) {
      Buffers buffers(kSizes);
      buffers.Fill(3);
      const std::vector<std::string> wanted = buffers.Contents();
      const std::unique_ptr<MemoryImage> image = make();
      ExpectOk(image->Prepare(buffers.ranges()));
      ExpectOk(image->Take(buffers.ranges()));
      std::vector<std::string> found;
      {
        Writers writers(buffers);
        EXPECT_TRUE(writers.Await());
        ExpectOk(ReadAll(image.get(), buffers.ranges(), piece, &found));
        EXPECT_TRUE(writers.Await());
      }
      ExpectOk(image->Finish());
      EXPECT_TRUE(found == wanted);
      EXPECT_TRUE(buffers.Contents() != wanted);
    }
  }
}

TEST(WhatIsWrittenMeanwhileStays) {
  for (const MakeImage& make : AllImages()) {
    Buffers buffers(kSizes);
    buffers.Fill(3);
    const std::unique_ptr<MemoryImage> image = make();
    ExpectOk(image->Prepare(buffers.ranges()));
    ExpectOk(image->Take(buffers.ranges()));
    buffers.Fill(4);
    const std::vector<std::string> written = buffers.Contents();
    std::vector<std::string> found;
    ExpectOk(ReadAll(image.get(), buffers.ranges(), 65536, &found));
    ExpectOk(image->Finish());
    EXPECT_TRUE(buffers.Contents() == written);
    EXPECT_TRUE(found != written);
  }
}

TEST(WhatIsWrittenBeforeTheInstantIsInTheImage) {
  for (const MakeImage& make : AllImages()) {
    for (int round = 0; round < 5; ++round) {
      Buffers buffers({24 << 20, 300, (9 << 20) + 5000, 700001});
      buffers.Fill(static_cast<uint32_t>(round));
      const std::unique_ptr<MemoryImage> image = make();
      {
        Writers writers(buffers);
        EXPECT_TRUE(writers.Await(10));
        ExpectOk(image->Prepare(buffers.ranges()));
        EXPECT_TRUE(writers.Await(round < 2 ? round : 100));
      }
      const std::vector<std::string> wanted = buffers.Contents();
      ExpectOk(image->Take(buffers.ranges()));
      std::vector<std::string> found;
      {
        Writers writers(buffers);
        EXPECT_TRUE(writers.Await());
        ExpectOk(ReadAll(image.get(), buffers.ranges(), 1 << 20, &found));
      }
      ExpectOk(image->Finish());
      EXPECT_TRUE(found == wanted);
    }
  }
}

TEST(RangesThatMovedAreTakenWhereTheyAre) {
  for (const MakeImage& make : AllImages()) {
    Buffers before(kSizes), after(kSizes, 5000);
    before.Fill(1);
    after.Fill(2);
    const std::vector<std::string> wanted = after.Contents();
    const std::unique_ptr<MemoryImage> image = make();
    ExpectOk(image->Prepare(before.ranges()));
    ExpectOk(image->Take(after.ranges()));
    before.Fill(3);
    after.Fill(4);
    std::vector<std::string> found;
    ExpectOk(ReadAll(image.get(), after.ranges(), 1 << 20, &found));
    ExpectOk(image->Finish());
    EXPECT_TRUE(found == wanted);
  }
}

TEST(RangesThatMovedAreFreeAgain) {
  for (const bool leaves_early : {true, false}) {
    for (const MakeImage& make : AllImages()) {
      Buffers former(kSizes), buffers(kSizes);
      buffers.Fill(4);
      const std::vector<std::string> wanted = buffers.Contents();
      const std::unique_ptr<MemoryImage> image = make();
      ExpectOk(image->Prepare(former.ranges()));
      ExpectOk(image->Take(buffers.ranges()));
      if (leaves_early) image->LeaveFormer();
      std::vector<std::string> found;
      ExpectOk(ReadAll(image.get(), buffers.ranges(), 1 << 20, &found));
      EXPECT_TRUE(found == wanted);
      ExpectOk(image->Finish());
      // Nobody handles writes any more, so a protected page would stop this thread for ever.
      former.Fill(5);
    }
  }
}

TEST(RangesOfAnotherSizeAreRefused) {
  for (const MakeImage& make : AllImages()) {
    Buffers before(std::vector<int64_t>{1 << 20}), after(std::vector<int64_t>{2 << 20});
    const std::unique_ptr<MemoryImage> image = make();
    ExpectOk(image->Prepare(before.ranges()));
    EXPECT_TRUE(absl::IsAborted(image->Take(after.ranges())));
    after.Fill(1);
  }
}

TEST(AnImageThatIsNotReadLeavesNothing) {
  for (const MakeImage& make : AllImages()) {
    Buffers buffers(kSizes);
    buffers.Fill(3);
    {
      const std::unique_ptr<MemoryImage> image = make();
      ExpectOk(image->Prepare(buffers.ranges()));
      ExpectOk(image->Take(buffers.ranges()));
    }
    buffers.Fill(4);
    EXPECT_EQ(waitpid(-1, nullptr, __WALL), -1);
    EXPECT_EQ(errno, ECHILD);
  }
}

bool HasUserfaultfd() {
  PageGuard guard;
  return guard.Open().ok();
}

TEST(AFullPoolFailsTheImageAndNotTheWriters) {
  if (!HasUserfaultfd()) return;
  Buffers buffers(kSizes);
  buffers.Fill(3);
  ProtectedImage image(Options(64 << 10, 256 << 10));
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  buffers.Fill(4);
  std::vector<std::string> found;
  EXPECT_TRUE(absl::IsResourceExhausted(ReadAll(&image, buffers.ranges(), 65536, &found)));
  EXPECT_TRUE(absl::IsResourceExhausted(image.Finish()));
}

TEST(SideMemoryStaysInItsPool) {
  if (!HasUserfaultfd()) return;
  Buffers buffers(kSizes);
  buffers.Fill(3);
  const std::vector<std::string> wanted = buffers.Contents();
  ProtectedImage image(Options(64 << 10, 512 << 10, "/var/tmp"));
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  buffers.Fill(4);
  std::vector<std::string> found;
  ExpectOk(ReadAll(&image, buffers.ranges(), 65536, &found));
  ExpectOk(image.Finish());
  EXPECT_TRUE(found == wanted);
  EXPECT_EQ(image.report().most_side_bytes - image.report().copied_bytes, 512 << 10);
  EXPECT_TRUE(image.report().spilled_bytes > (8 << 20));
}

int64_t ResidentBytes() {
  int64_t mapped = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> mapped >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(AnImageTakesNoMoreMemoryThanItsVariablesHave) {
  if (!HasUserfaultfd()) return;
  Buffers buffers(kSizes);
  buffers.Fill(3);
  ProtectedImage image(Options(0, int64_t{1} << 30));
  const int64_t before = ResidentBytes();
  ExpectOk(image.Prepare(buffers.ranges()));
  EXPECT_TRUE(ResidentBytes() - before < (128 << 20));
}

TEST(WhatWasReadIsNotCopiedAgain) {
  if (!HasUserfaultfd()) return;
  Buffers buffers(kSizes);
  buffers.Fill(3);
  ProtectedImage image(Options(64 << 10, 64 << 20));
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  std::vector<std::string> found;
  ExpectOk(ReadAll(&image, buffers.ranges(), 1 << 20, &found));
  buffers.Fill(4);
  ExpectOk(image.Finish());
  EXPECT_EQ(image.report().faults, 0);
  EXPECT_EQ(image.report().most_side_bytes, image.report().copied_bytes);
}

TEST(AClosedDescriptorIsNoticed) {
  if (!HasUserfaultfd()) return;
  Buffers buffers(kSizes);
  ProtectedImage image(Options(64 << 10, 64 << 20));
  const int next = dup(0);
  close(next);
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  close(next);
  buffers.Fill(4);
  EXPECT_TRUE(!image.Finish().ok());
}

TEST(TheKernelMayWriteToAProtectedPage) {
  if (!HasUserfaultfd()) return;
  Buffers buffers(kSizes);
  buffers.Fill(3);
  const std::vector<std::string> wanted = buffers.Contents();
  ProtectedImage image(Options(64 << 10, 64 << 20));
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  const int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  const MemoryRange& large = buffers.ranges()[0];
  EXPECT_EQ(read(zeros, large.begin, static_cast<size_t>(large.size)), large.size);
  close(zeros);
  EXPECT_TRUE(std::string(large.begin, static_cast<size_t>(large.size)) ==
              std::string(static_cast<size_t>(large.size), 0));
  std::vector<std::string> found;
  ExpectOk(ReadAll(&image, buffers.ranges(), 65536, &found));
  ExpectOk(image.Finish());
  EXPECT_TRUE(found == wanted);
}

TEST(MemoryThatProcessesShareIsCopiedOnly) {
  constexpr int64_t kSize = 1 << 20;
  void* const shared =
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const std::vector<MemoryRange> ranges = {{static_cast<char*>(shared), kSize}};
  for (const MakeImage& make : AllImages()) {
    const std::unique_ptr<MemoryImage> image = make();
    const bool is_copy = dynamic_cast<CopiedImage*>(image.get()) != nullptr;
    EXPECT_EQ(image->Prepare(ranges).ok(), is_copy);
  }
  munmap(shared, kSize);
}

TEST(ACopyStaysInItsBudget) {
  Buffers buffers(kSizes);
  int64_t total = 0;
  for (const int64_t size : kSizes) total += size;
  EXPECT_TRUE(absl::IsResourceExhausted(CopiedImage(total - 1).Prepare(buffers.ranges())));
  CopiedImage image(total);
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  EXPECT_EQ(image.report().most_side_bytes, total);
}

TEST(AKilledChildIsNoticed) {
  Buffers buffers(kSizes);
  ForkedImage image;
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  kill(image.child(), SIGKILL);
  std::vector<std::string> found;
  absl::Status status;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  // It is there until the kernel has taken it down.
  while (status.ok() && std::chrono::steady_clock::now() < until) {
    char byte;
    status = image.Read(buffers.ranges()[0].begin, 1, &byte);
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
}

TEST(AStoppedChildIsReadAndHoldsNobodyUp) {
  Buffers buffers(std::vector<int64_t>{100 << 20});
  std::memset(buffers.ranges()[0].begin, 7, 100 << 20);
  ForkedImage image;
  ExpectOk(image.Prepare(buffers.ranges()));
  ExpectOk(image.Take(buffers.ranges()));
  kill(image.child(), SIGSTOP);
  std::vector<std::string> found;
  ExpectOk(ReadAll(&image, buffers.ranges(), 4096, &found));
  EXPECT_TRUE(found[0] == std::string(100 << 20, 7));
  ExpectOk(image.Finish());
}

TEST(AChildEndsWithItsParentAndHoldsNoLock) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const std::string path = "/var/tmp/autodist_image_test." + std::to_string(getpid());
  const int file = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  unlink(path.c_str());
  const pid_t parent = fork();
  if (parent == 0) {
    struct flock whole = {};
    whole.l_type = F_WRLCK;
    fcntl(file, F_OFD_SETLK, &whole);
    Buffers buffers(kSizes);
    ForkedImage image;
    if (!image.Prepare(buffers.ranges()).ok() || !image.Take(buffers.ranges()).ok()) _exit(1);
    const pid_t child = image.child();
    (void)!write(ends[1], &child, sizeof child);
    kill(getpid(), SIGKILL);
  }
  pid_t child = 0;
  EXPECT_EQ(read(ends[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  waitpid(parent, nullptr, 0);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (kill(child, 0) == 0 && std::chrono::steady_clock::now() < until) usleep(1000);
  EXPECT_EQ(kill(child, 0), -1);
  close(file);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace autodist
