#include "restore/restore_ranges.h"

#include <algorithm>
#include <random>
#include <string>

#include "absl/crc/crc32c.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "core/testing/testing.h"
#include "format/values/testing_tensors.h"

namespace autodist {
namespace {

using testing::RandomShape;
using testing::RandomTiling;
using testing::SliceSpec;
using testing::WithoutEmpty;

constexpr int64_t kFloatBytes = 4;
constexpr int kTasks = 3;

// A variable that is stored whole, of these bytes.
BundleIndex IndexOf(const Dims& shape, const std::string& bytes) {
  BundleEntry entry{};
  entry.name = "w";
  entry.dtype = tensorflow::DT_FLOAT;
  entry.shape = shape;
  entry.size_bytes = static_cast<int64_t>(bytes.size());
  entry.crc32c = static_cast<uint32_t>(absl::ComputeCrc32c(bytes));
  return BundleIndex{1, {entry}};
}

struct Case {
  BundleIndex index;
  RestorePlan plan;
  RangeOptions options;
  std::string bytes;
  RestoreRanges ranges;
};

// Boxes of a random variable on random tasks, some of them on several.
Case RandomCase(std::mt19937* random) {
  Case made;
  const Dims shape = RandomShape(random);
  for (int64_t i = 0; i < Box::Whole(shape).elements() * kFloatBytes; ++i) {
    made.bytes.push_back(static_cast<char>((*random)()));
  }
  made.index = IndexOf(shape, made.bytes);
  std::vector<RestoreEntry> entries;
  for (const Box& box : WithoutEmpty(shape, RandomTiling(shape, random))) {
    if ((*random)() % 5 == 0) continue;
    for (int copies = 1 + (*random)() % 2; copies > 0; --copies) {
      const int number = static_cast<int>(entries.size());
      entries.push_back({"w", SliceSpec(shape, box), tensorflow::DT_FLOAT, number, 1});
      made.options.tasks.push_back((*random)() % kTasks);
      made.options.live.push_back((*random)() % 2 == 0);
    }
  }
  made.options.readers = {true, (*random)() % 2 == 0, (*random)() % 2 == 0};
  made.options.verify_first = (*random)() % 2 == 0;
  made.options.segment_bytes = kFloatBytes * (1 + (*random)() % 9);
  made.plan = BuildRestorePlan(made.index, entries).value();
  made.ranges = PlanRestoreRanges(made.index, made.plan, made.options);
  return made;
}

int64_t SumOf(const Case& made, const Segment& segment) {
  const absl::string_view bytes = made.bytes;
  return static_cast<uint32_t>(
      absl::ComputeCrc32c(bytes.substr(segment.begin, segment.end - segment.begin)));
}

// Adds the true sums of some segments.
absl::Status AddTrueSums(const Case& made, const TaskSegments& segments, SegmentSums* sums) {
  for (const std::vector<int>& of_task : segments) {
    std::vector<int64_t> crcs;
    for (const int number : of_task) crcs.push_back(SumOf(made, made.ranges.segments[number]));
    const std::vector<int64_t> numbers(of_task.begin(), of_task.end());
    const absl::Status status = sums->Add(numbers, crcs);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

TEST(EveryTargetGetsItsBytesAndEveryByteIsSummedBeforeItIsTrusted) {
  std::mt19937 random(71);
  for (int round = 0; round < 1000; ++round) {
    const Case made = RandomCase(&random);
    // Segments follow each other, none longer than allowed.
    int64_t end = 0;
    for (const Segment& segment : made.ranges.segments) {
      EXPECT_EQ(segment.begin, end);
      EXPECT_TRUE(segment.end > segment.begin);
      EXPECT_TRUE(segment.end - segment.begin <= made.options.segment_bytes);
      EXPECT_EQ(segment.begin % kFloatBytes, 0);
      end = segment.end;
    }
    for (const Group& group : made.plan.groups) {
      EXPECT_EQ(end, group.size_bytes);
      for (const Delivery& delivery : group.pieces[0].deliveries) {
        const int target = group.targets[delivery.target].number;
        const TaskSegments& taken =
            made.options.live[target] ? made.ranges.live : made.ranges.fresh;
        std::vector<bool> sent(made.bytes.size(), false);
        for (const int number : taken[made.options.tasks[target]]) {
          const Segment& segment = made.ranges.segments[number];
          std::fill(sent.begin() + segment.begin, sent.begin() + segment.end, true);
        }
        delivery.runs.Visit(0, end / kFloatBytes, [&](const Run& run) {
          for (int64_t i = run.output; i < run.output + run.count; ++i) {
            EXPECT_TRUE(sent[i * kFloatBytes]);
          }
        });
      }
    }
    for (int task = 0; task < kTasks; ++task) {
      if (!made.options.readers[task]) EXPECT_TRUE(made.ranges.checks[task].empty());
    }
    SegmentSums sums(&made.index, &made.ranges.segments, "model");
    EXPECT_EQ(AddTrueSums(made, made.ranges.checks, &sums), absl::OkStatus());
    EXPECT_EQ(AddTrueSums(made, made.ranges.fresh, &sums), absl::OkStatus());
    if (!made.options.verify_first) {
      EXPECT_EQ(AddTrueSums(made, made.ranges.live, &sums), absl::OkStatus());
    }
    EXPECT_EQ(sums.Verify(), absl::OkStatus());
    EXPECT_EQ(AddTrueSums(made, made.ranges.live, &sums), absl::OkStatus());
  }
}

TEST(AnySumThatIsNotTheStoredOneIsDataLoss) {
  std::mt19937 random(72);
  int tried = 0;
  while (tried < 200) {
    Case made = RandomCase(&random);
    if (made.ranges.segments.empty()) continue;
    ++tried;
    made.bytes[random() % made.bytes.size()] ^= 1 << random() % 8;
    made.options.verify_first = true;
    made.ranges = PlanRestoreRanges(made.index, made.plan, made.options);
    SegmentSums sums(&made.index, &made.ranges.segments, "dir/model");
    EXPECT_EQ(AddTrueSums(made, made.ranges.checks, &sums), absl::OkStatus());
    EXPECT_EQ(AddTrueSums(made, made.ranges.fresh, &sums), absl::OkStatus());
    const absl::Status status = sums.Verify();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(status.message(), "tensor 'w': bytes [0, "));
    EXPECT_TRUE(absl::StrContains(status.message(), "dir/model.data-00000-of-00001"));
    // A reader that finds something else than another did.
    const int64_t wrong = SumOf(made, made.ranges.segments[0]) ^ 1;
    EXPECT_EQ(sums.Add({0}, {wrong}).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(WhatNobodyTakesIsSharedOutAmongThoseWhoRead) {
  const Dims shape = {1000};
  const std::string bytes(4000, 'x');
  const BundleIndex index = IndexOf(shape, bytes);
  const RestorePlan plan =
      BuildRestorePlan(index,
                       {{"w", SliceSpec(shape, Box{{0}, {1000}}), tensorflow::DT_FLOAT, 0, 1}})
          .value();
  const RangeOptions options{{1}, {true}, {true, false, true}, true, 40};
  const RestoreRanges ranges = PlanRestoreRanges(index, plan, options);
  EXPECT_EQ(ranges.checks[0].size(), 50u);
  EXPECT_EQ(ranges.checks[1].size(), 0u);
  EXPECT_EQ(ranges.checks[2].size(), 50u);
  EXPECT_EQ(ranges.live[1].size(), 100u);
  SegmentSums sums(&index, &ranges.segments, "model");
  EXPECT_EQ(sums.Verify().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace autodist
