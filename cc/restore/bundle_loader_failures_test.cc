// What a load does when it cannot go on: it is cancelled, the file is damaged or cannot be read.

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "restore/testing_restores.h"
#include "storage/testing/faulty_reads.h"

namespace autodist {
namespace {

using testing::Exercise;
using testing::FaultyReads;
using testing::Grid;
using testing::Options;
using testing::RandomTensor;
using testing::ReadFile;
using testing::WriteFile;

// Large and small variables, all live but the strings.
void AddLayers(Exercise* exercise) {
  std::mt19937 random(76);
  const Dims shape = {700, 400};
  for (int i = 0; i < 3; ++i) {
    exercise->Add(absl::StrCat("v", i), RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                  Grid(shape, 2, 1), Grid(shape, 1, 1 + i), 1, [] { return true; });
    exercise->AddWhole(absl::StrCat("w", i), RandomTensor(tensorflow::DT_FLOAT, {10}, &random),
                       true);
    exercise->AddWhole(absl::StrCat("s", i), RandomTensor(tensorflow::DT_STRING, {10}, &random),
                       false);
  }
  exercise->Write();
}

TEST(ACancelledLoadChangesNothing) {
  std::atomic<bool> cancelled{true};
  for (int threads : {1, 3}) {
    Exercise exercise;
    AddLayers(&exercise);
    LoadOptions options = Options(threads);
    options.cancelled = &cancelled;
    EXPECT_TRUE(absl::IsCancelled(exercise.Load(options).status()));
    EXPECT_TRUE(exercise.IsUntouched());
    EXPECT_EQ(exercise.targets.open_count(), 0);
  }
}

TEST(ALoadThatIsCancelledWhileItWritesIsFinished) {
  Exercise exercise;
  AddLayers(&exercise);
  std::atomic<bool> cancelled{false};
  exercise.targets.on_open = [&](int) {
    cancelled = true;
    return absl::OkStatus();
  };
  LoadOptions options = Options(2);
  options.cancelled = &cancelled;
  EXPECT_EQ(exercise.Load(options).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(ALoadInOnePassThatIsCancelledLeavesNoWrongValue) {
  for (int number = 0; number < 6; ++number) {
    Exercise exercise;
    AddLayers(&exercise);
    std::atomic<bool> cancelled{false};
    exercise.targets.on_open = [&](int open) {
      if (open == number) cancelled = true;
      return absl::OkStatus();
    };
    LoadOptions options = Options(3, Verify::kDuring);
    options.cancelled = &cancelled;
    const absl::Status status = exercise.Load(options).status();
    // Whoever opens the last targets may have nothing left to cancel.
    EXPECT_TRUE(absl::IsCancelled(status) || (number == 5 && status.ok()));
    EXPECT_TRUE(exercise.HasNoWrongValue());
  }
}

TEST(TargetsThatCannotBeOpenedEndTheLoad) {
  for (int failing = 0; failing < 6; ++failing) {
    Exercise exercise;
    AddLayers(&exercise);
    exercise.targets.on_open = [&](int open) {
      return open == failing ? absl::ResourceExhaustedError("none left") : absl::OkStatus();
    };
    EXPECT_TRUE(absl::StartsWith(exercise.Load(Options(4)).status().message(), "none left"));
    EXPECT_TRUE(exercise.HasNoWrongValue());
  }
}

TEST(ADamagedByteIsFoundBeforeAnythingIsWritten) {
  std::mt19937 random(77);
  for (int round = 0; round < 16; ++round) {
    const Verify verify = round < 8 ? Verify::kBefore : Verify::kSwap;
    Exercise exercise;
    AddLayers(&exercise);
    std::string data = ReadFile(exercise.data_path());
    const size_t at = round % 8 == 0   ? 0
                      : round % 8 == 1 ? data.size() - 1
                                       : random() % data.size();
    data[at] = static_cast<char>(data[at] ^ (1 << random() % 8));
    WriteFile(exercise.data_path(), data);
    const absl::Status status = exercise.Load(Options(1 + round % 4, verify)).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_TRUE(absl::StrContains(status.message(), "tensor '"));
    EXPECT_TRUE(absl::StrContains(status.message(), "bytes ["));
    EXPECT_TRUE(absl::StrContains(status.message(), exercise.data_path()));
    EXPECT_TRUE(exercise.IsUntouched());
    EXPECT_EQ(exercise.targets.open_count(), 0);
  }
}

// Small variables of several layouts, some live.
void AddSmall(Exercise* exercise) {
  std::mt19937 random(78);
  const Dims shape = {4, 6};
  exercise->Add("grid", RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                Grid(shape, 2, 2), Grid(shape, 1, 3), 1, [] { return true; });
  exercise->AddWhole("bytes", RandomTensor(tensorflow::DT_INT8, {9}, &random), true);
  exercise->AddWhole("fresh", RandomTensor(tensorflow::DT_HALF, {5}, &random), false);
  exercise->AddWhole("strings", RandomTensor(tensorflow::DT_STRING, {3}, &random), false);
  exercise->AddWhole("truth", RandomTensor(tensorflow::DT_BOOL, {2}, &random), true);
  exercise->Write();
}

TEST(EveryDamagedByteOfASmallCheckpointIsFound) {
  std::string data, index;
  {
    Exercise exercise;
    AddSmall(&exercise);
    data = ReadFile(exercise.data_path());
    index = ReadFile(exercise.index_path());
  }
  for (bool in_index : {false, true}) {
    const std::string& bytes = in_index ? index : data;
    for (size_t at = 0; at < bytes.size(); ++at) {
      Exercise exercise;
      AddSmall(&exercise);
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      WriteFile(in_index ? exercise.index_path() : exercise.data_path(), damaged);
      const bool swaps = at % 2 == 1;
      const absl::Status status =
          exercise.Load(Options(2, swaps ? Verify::kSwap : Verify::kBefore)).status();
      if (status.ok()) {
        // Padding of the index; nothing that is read.
        EXPECT_TRUE(in_index);
        swaps ? exercise.ExpectLoadedToSwap() : exercise.ExpectLoaded();
      } else {
        EXPECT_TRUE(absl::IsDataLoss(status));
        EXPECT_TRUE(exercise.IsUntouched());
      }
    }
  }
}

TEST(AFileThatIsTooShortIsRefused) {
  for (bool in_index : {false, true}) {
    for (size_t cut = 1;; cut += 3) {
      Exercise exercise;
      AddSmall(&exercise);
      const std::string path = in_index ? exercise.index_path() : exercise.data_path();
      const std::string bytes = ReadFile(path);
      if (cut > bytes.size()) break;
      WriteFile(path, bytes.substr(0, bytes.size() - cut));
      const absl::Status status = exercise.Load(Options(2)).status();
      EXPECT_TRUE(absl::IsDataLoss(status));
      EXPECT_TRUE(absl::StrContains(status.message(), path));
      EXPECT_TRUE(exercise.IsUntouched());
    }
  }
}

TEST(AMissingDataFileIsNamed) {
  Exercise exercise;
  AddSmall(&exercise);
  EXPECT_EQ(std::remove(exercise.data_path().c_str()), 0);
  const absl::Status status = exercise.Load(Options(2)).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_TRUE(absl::StrContains(status.message(), exercise.data_path()));
}

TEST(InOnePassWhatIsDamagedIsLeftWithoutAValue) {
  for (size_t at = 0; at < 24 * sizeof(float); ++at) {
    Exercise exercise;
    AddSmall(&exercise);
    std::string data = ReadFile(exercise.data_path());
    data[at] = static_cast<char>(data[at] ^ 4);
    WriteFile(exercise.data_path(), data);
    const absl::Status status = exercise.Load(Options(1, Verify::kDuring)).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_TRUE(exercise.HasNoWrongValue());
  }
}

// Reads from one on fail; 0: none. Tells how many there were in all.
absl::Status LoadWithFailingRead(Exercise* exercise, int failing, int threads, int* reads,
                                 Verify verify = Verify::kBefore) {
  *reads = 0;
  const FaultyReads faults([&](uint64_t, size_t) { return ++*reads >= failing && failing > 0; });
  exercise->scheme = FaultyReads::kScheme;
  return exercise->Load(Options(threads, verify)).status();
}

TEST(WhatCannotBeReadIsNamedAndChangesNothing) {
  for (const auto& add : {AddLayers, AddSmall}) {
    int reads = 0;
    Exercise whole;
    add(&whole);
    EXPECT_EQ(LoadWithFailingRead(&whole, 0, 2, &reads), absl::OkStatus());
    whole.ExpectLoaded();
    const int all = reads;
    for (int failing = 1; failing <= all; ++failing) {
      Exercise exercise;
      add(&exercise);
      const absl::Status status = LoadWithFailingRead(&exercise, failing, 1 + failing % 3, &reads);
      EXPECT_TRUE(absl::StrContains(status.message(), "the disk is broken"));
      EXPECT_TRUE(absl::StrContains(status.message(), "tensor '"));
      EXPECT_TRUE(absl::StrContains(status.message(), "bytes ["));
      EXPECT_TRUE(absl::StrContains(status.message(), exercise.data_path()));
      // The second pass may have begun, but nobody sees half of what it did.
      EXPECT_TRUE(exercise.HasNoStoredValue());
      const bool is_second_pass = absl::StrContains(status.message(), "has no value now");
      EXPECT_EQ(exercise.IsUntouched(), !is_second_pass);
      EXPECT_TRUE(failing > 1 || !is_second_pass);
      EXPECT_TRUE(failing < all || is_second_pass);
    }
  }
}

TEST(AReadThatFailsOnceInABatchIsTriedAgain) {
  Exercise exercise;
  AddSmall(&exercise);
  int reads = 0;
  const FaultyReads faults([&reads](uint64_t, size_t) { return ++reads == 1; });
  exercise.scheme = FaultyReads::kScheme;
  EXPECT_EQ(exercise.Load(Options(1)).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(WhatCannotBeReadToSwapIsNamedAndChangesNothing) {
  for (const auto& add : {AddLayers, AddSmall}) {
    int reads = 0;
    Exercise whole;
    add(&whole);
    EXPECT_EQ(LoadWithFailingRead(&whole, 0, 2, &reads, Verify::kSwap), absl::OkStatus());
    whole.ExpectLoadedToSwap();
    const int all = reads;
    for (int failing = 1; failing <= all; ++failing) {
      Exercise exercise;
      add(&exercise);
      const absl::Status status =
          LoadWithFailingRead(&exercise, failing, 1 + failing % 3, &reads, Verify::kSwap);
      EXPECT_TRUE(absl::StrContains(status.message(), "the disk is broken"));
      EXPECT_TRUE(exercise.IsUntouched());
      EXPECT_EQ(exercise.targets.open_count(), 0);
    }
  }
}

constexpr int64_t kMebibyte = 1 << 20;

TEST(WithoutMemoryToSwapTheCheckpointIsReadTwice) {
  Exercise exercise;
  AddLayers(&exercise);
  const int64_t size_bytes = static_cast<int64_t>(ReadFile(exercise.data_path()).size());
  LoadOptions options = Options(2, Verify::kSwap);
  options.available_memory = [] { return 5 * kMebibyte; };
  Progress progress;
  options.progress = &progress;
  const absl::StatusOr<LoadReport> report = exercise.Load(options);
  EXPECT_TRUE(absl::StrContains(report.value().no_swap, "of the 5 MiB that are available"));
  EXPECT_TRUE(report->read_bytes > size_bytes);
  EXPECT_EQ(progress.done_bytes(), progress.total_bytes());
  exercise.ExpectLoaded();
}

TEST(MemoryThatRunsShortWhileItIsFilledIsGivenBack) {
  // Beyond the first look at what is available.
  constexpr int64_t kSize = 80 * kMebibyte;
  std::mt19937 random(79);
  Exercise exercise;
  exercise.AddWhole("large", RandomTensor(tensorflow::DT_INT8, {kSize}, &random), true);
  exercise.AddWhole("new", RandomTensor(tensorflow::DT_INT8, {100}, &random), false);
  exercise.Write();
  std::atomic<int> looks{0};
  LoadOptions options = Options(2, Verify::kSwap);
  options.available_memory = [&looks] { return looks++ == 0 ? 1000 * kMebibyte : 100 * kMebibyte; };
  Progress progress;
  options.progress = &progress;
  const absl::StatusOr<LoadReport> report = exercise.Load(options);
  EXPECT_TRUE(absl::StrContains(report.value().no_swap, "only 100 MiB"));
  EXPECT_EQ(looks.load(), 2);
  EXPECT_EQ(progress.done_bytes(), progress.total_bytes());
  exercise.ExpectLoaded();
}

TEST(AnyAllocationThatFailsToSwapIsMadeUpForInPlace) {
  // All live ones but the strings: 3 of 1, 2 or 3 shards and 3 small ones.
  for (int failing = 0; failing < 12; ++failing) {
    Exercise exercise;
    AddLayers(&exercise);
    exercise.targets.on_allocate = [&](int count) {
      return count == failing ? absl::ResourceExhaustedError("none left") : absl::OkStatus();
    };
    const absl::StatusOr<LoadReport> report = exercise.Load(Options(3, Verify::kSwap));
    EXPECT_TRUE(absl::StrContains(report.value().no_swap, "none left"));
    exercise.ExpectLoaded();
  }
}

TEST(ASwapThatIsCancelledChangesNothing) {
  Exercise exercise;
  AddLayers(&exercise);
  std::atomic<bool> cancelled{false};
  exercise.targets.on_allocate = [&](int count) {
    if (count == 3) cancelled = true;
    return absl::OkStatus();
  };
  LoadOptions options = Options(2, Verify::kSwap);
  options.cancelled = &cancelled;
  EXPECT_TRUE(absl::IsCancelled(exercise.Load(options).status()));
  EXPECT_TRUE(exercise.IsUntouched());
}

}  // namespace
}  // namespace autodist
