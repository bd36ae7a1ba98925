// Restores of a cluster on one task, while its ops are given up and go on.

#include "sessions/restore_session.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "core/testing/testing.h"
#include "sessions/testing_variables.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace autodist {
namespace {

using testing::TemporaryDirectory;
using testing::Variables;

constexpr std::chrono::seconds kRestoreLease{3600};
constexpr int kCount = 6;
constexpr int64_t kSize = 400'000;  // of two blocks
constexpr float kFormer = 1.0f, kStored = 2.0f;

RestorePart PartOf(BundleIndex index, const std::vector<RestoreEntry>& entries) {
  absl::StatusOr<RestorePlan> plan = BuildRestorePlan(index, entries);
  EXPECT_EQ(plan.status(), absl::OkStatus());
  return {std::move(index), *std::move(plan)};
}

// A checkpoint of kCount variables.
class Checkpoint {
 public:
  Checkpoint() {
    tensorflow::BundleWriter writer(tsl::Env::Default(), prefix());
    for (int i = 0; i < kCount; ++i) {
      EXPECT_EQ(writer.Add(Variables::Name(i), Variables::Filled(kSize, kStored)),
                absl::OkStatus());
    }
    EXPECT_EQ(writer.Finish(), absl::OkStatus());
  }

  std::string prefix() const { return directory_.path() + "/m"; }

  std::shared_ptr<RestoreSession> Begin(Variables* variables, bool swap = false) const {
    auto restore = std::make_shared<RestoreSession>(kRestoreLease);
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix());
    EXPECT_EQ(index.status(), absl::OkStatus());
    restore->SetFiles(prefix(), index->shard_count);
    const PinnedVariables pins = variables->Pins();
    std::vector<RestoreEntry> entries;
    std::vector<RestoreTarget> targets;
    for (int i = 0; i < kCount; ++i) {
      entries.push_back({Variables::Name(i), "", tensorflow::DT_FLOAT, i, 1});
      targets.push_back({&pins.variables()[i], tensorflow::PartialTensorShape(), false});
    }
    const auto unfit =
        restore->SetTargets(PartOf(*std::move(index), entries), targets, {pins}, swap);
    EXPECT_TRUE(unfit.ok() && unfit->empty());
    EXPECT_TRUE(restore->OpenFiles());
    return restore;
  }

  // Everything, of those that are live or of the others.
  static absl::Status FillAll(RestoreSession* restore, bool live) {
    std::vector<RestoreSession::Range> ranges;
    for (int i = 0; i < kCount; ++i) {
      if (restore->live()[i] == live) ranges.push_back({i, 0, 4 * kSize});
    }
    return restore->Fill(live, ranges, absl::string_view(), 2, nullptr).status();
  }

  static absl::Status Finish(RestoreSession* restore) {
    for (const bool live : {false, true}) {
      if (absl::Status status = FillAll(restore, live); !status.ok()) return status;
    }
    return restore->Publish();
  }

 private:
  TemporaryDirectory directory_;
};

int CountOf(Variables* variables, std::optional<float> value) {
  int count = 0;
  for (int i = 0; i < variables->count(); ++i) count += variables->Value(i) == value;
  return count;
}

TEST(ARestoreIsSeenOnceItIsPublished) {
  const Checkpoint checkpoint;
  Variables variables(kCount, kSize, kFormer);
  auto restore = checkpoint.Begin(&variables);
  EXPECT_EQ(Checkpoint::Finish(restore.get()), absl::OkStatus());
  EXPECT_EQ(CountOf(&variables, kStored), kCount);
  restore->Drop(/*withdraw=*/false);
  EXPECT_EQ(CountOf(&variables, kStored), kCount);
  restore->Drop(/*withdraw=*/true);
  EXPECT_EQ(CountOf(&variables, std::nullopt), kCount);
}

TEST(VariablesKeepTheirValuesUntilTheyAreSwapped) {
  const Checkpoint checkpoint;
  for (const bool in_place : {false, true}) {
    Variables variables(kCount, kSize, kFormer, in_place);
    // Somebody else refers to these buffers, as an image of a save does.
    const std::vector<tensorflow::Tensor> former = variables.Tensors();
    auto restore = checkpoint.Begin(&variables, /*swap=*/true);
    for (const bool is_live : restore->live()) EXPECT_TRUE(!is_live);
    EXPECT_EQ(Checkpoint::FillAll(restore.get(), false), absl::OkStatus());
    EXPECT_EQ(CountOf(&variables, kFormer), kCount);
    EXPECT_EQ(restore->Publish(), absl::OkStatus());
    EXPECT_EQ(CountOf(&variables, kStored), kCount);
    for (const tensorflow::Tensor& tensor : former) {
      EXPECT_EQ(tensor.flat<float>()(0), kFormer);
      EXPECT_TRUE(tensor.RefCountIsOne());
    }
    // A variable that is updated in place has its memory for itself.
    for (tensorflow::Tensor& tensor : variables.TakeTensors()) EXPECT_TRUE(tensor.RefCountIsOne());
  }
}

TEST(ASwapThatIsDroppedOrFailsLeavesTheFormerValues) {
  const Checkpoint checkpoint;
  Variables variables(kCount, kSize, kFormer);
  auto restore = checkpoint.Begin(&variables, /*swap=*/true);
  EXPECT_EQ(Checkpoint::FillAll(restore.get(), false), absl::OkStatus());
  restore->Drop(/*withdraw=*/true);
  EXPECT_EQ(CountOf(&variables, kFormer), kCount);
  restore = checkpoint.Begin(&variables, /*swap=*/true);
  EXPECT_EQ(Checkpoint::FillAll(restore.get(), false), absl::OkStatus());
  std::atomic<bool> cancelled{true};
  EXPECT_TRUE(absl::IsCancelled(
      restore->Fill(false, {{0, 0, 4 * kSize}}, absl::string_view(), 1, &cancelled).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(restore->Publish()));
  EXPECT_EQ(CountOf(&variables, kFormer), kCount);
}

TEST(ARestoreThatIsDroppedWhileOpsFillTakesNoVariableLater) {
  const Checkpoint checkpoint;
  for (int round = 0; round < 15; ++round) {
    Variables variables(kCount, kSize, kFormer);
    auto restore = checkpoint.Begin(&variables);
    std::atomic<bool> has_begun{false};
    std::vector<std::thread> fills;
    for (int i = 0; i < kCount; ++i) {
      fills.emplace_back([&, i] {
        has_begun = true;
        for (int time = 0; time < 3; ++time) {
          const absl::Status status =
              restore->Fill(true, {{i, 0, 4 * kSize}}, absl::string_view(), 2, nullptr).status();
          if (!status.ok()) EXPECT_TRUE(absl::IsFailedPrecondition(status));
        }
      });
    }
    while (!has_begun) std::this_thread::yield();
    restore->Drop(/*withdraw=*/round % 2 == 0);
    // Each has its former value or none, and the next restore gives them theirs, whatever is left
    // of this one.
    EXPECT_EQ(CountOf(&variables, kFormer) + CountOf(&variables, std::nullopt), kCount);
    auto next = checkpoint.Begin(&variables);
    EXPECT_EQ(Checkpoint::Finish(next.get()), absl::OkStatus());
    for (std::thread& fill : fills) fill.join();
    EXPECT_TRUE(!restore->Publish().ok());
    restore.reset();
    EXPECT_EQ(CountOf(&variables, kStored), kCount);
  }
}

TEST(AVariableThatGotAValueMeanwhileKeepsItWhenTheRestoreIsForgotten) {
  const Checkpoint checkpoint;
  Variables variables(kCount, kSize, kFormer);
  auto restore = checkpoint.Begin(&variables);
  EXPECT_EQ(Checkpoint::FillAll(restore.get(), true), absl::OkStatus());
  EXPECT_EQ(CountOf(&variables, std::nullopt), kCount);
  {
    const PinnedVariables pins = variables.Pins();
    tensorflow::Var& first = *pins.variables()[0].variable;
    tensorflow::mutex_lock lock(*first.mu());
    *first.tensor() = Variables::Filled(kSize, 3.0f);
    first.is_initialized = true;
  }
  restore.reset();
  EXPECT_TRUE(variables.Value(0) == 3.0f);
  EXPECT_EQ(CountOf(&variables, std::nullopt), kCount - 1);
}

TEST(CopiesWithAndWithoutAValueAreRestoredFromOnePiece) {
  const Checkpoint checkpoint;
  Variables variables(kCount, kSize, kFormer);
  const PinnedVariables pins = variables.Pins();
  std::vector<RestoreEntry> entries;
  std::vector<RestoreTarget> targets;
  for (int i = 0; i < kCount; ++i) {
    if (i % 3 == 1) pins.variables()[i].variable->is_initialized = false;
    entries.push_back({Variables::Name(i / 3), "", tensorflow::DT_FLOAT, i, 1});
    targets.push_back({&pins.variables()[i], tensorflow::PartialTensorShape(), false});
  }
  RestoreSession restore(kRestoreLease);
  absl::StatusOr<BundleIndex> index = ReadBundleIndex(checkpoint.prefix());
  restore.SetFiles(checkpoint.prefix(), index->shard_count);
  EXPECT_TRUE(restore.SetTargets(PartOf(*std::move(index), entries), targets, {pins}, false).ok());
  EXPECT_TRUE(restore.OpenFiles());
  std::vector<RestoreSession::Range> ranges;
  for (int i = 0; i < kCount / 3; ++i) ranges.push_back({i, 0, 4 * kSize});
  for (const bool live : {false, true}) {
    EXPECT_EQ(CountOf(&variables, kFormer), 2 * kCount / 3);
    EXPECT_TRUE(restore.Fill(live, ranges, absl::string_view(), 2, nullptr).ok());
  }
  EXPECT_EQ(CountOf(&variables, kFormer), 0);
  EXPECT_EQ(restore.Publish(), absl::OkStatus());
  EXPECT_EQ(CountOf(&variables, kStored), kCount);
}

TEST(WhatFailedInPartIsNotPublished) {
  const Checkpoint checkpoint;
  Variables variables(kCount, kSize, kFormer);
  auto restore = checkpoint.Begin(&variables);
  EXPECT_EQ(Checkpoint::FillAll(restore.get(), true), absl::OkStatus());
  std::atomic<bool> cancelled{true};
  EXPECT_TRUE(absl::IsCancelled(
      restore->Fill(true, {{0, 0, 4 * kSize}}, absl::string_view(), 1, &cancelled).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(restore->Publish()));
  EXPECT_EQ(CountOf(&variables, kStored), 0);
}

TEST(PublishWaitsForThoseThatFill) {
  const Checkpoint checkpoint;
  for (int round = 0; round < 10; ++round) {
    Variables variables(kCount, kSize, kFormer);
    auto restore = checkpoint.Begin(&variables);
    EXPECT_EQ(Checkpoint::FillAll(restore.get(), true), absl::OkStatus());
    // An op that was given up does once more what another has done.
    std::thread again([&] { Checkpoint::FillAll(restore.get(), true).IgnoreError(); });
    const absl::Status status = restore->Publish();
    EXPECT_EQ(CountOf(&variables, status.ok() ? std::optional<float>(kStored) : std::nullopt),
              kCount);
    again.join();
    if (status.ok()) EXPECT_EQ(CountOf(&variables, kStored), kCount);
  }
}

}  // namespace
}  // namespace autodist
