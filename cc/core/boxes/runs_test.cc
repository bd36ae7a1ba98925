#include "core/boxes/runs.h"

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::RandomShape;
using testing::RandomTiling;

std::vector<Run> ListRuns(const Dims& shape, const Box& box, int64_t begin, int64_t end) {
  std::vector<Run> runs;
  VisitRuns(shape, box, begin, end, [&](const Run& run) { runs.push_back(run); });
  return runs;
}

void ExpectRun(const Run& run, int64_t output, int64_t source, int64_t count) {
  EXPECT_EQ(run.output, output);
  EXPECT_EQ(run.source, source);
  EXPECT_EQ(run.count, count);
}

TEST(ColumnsAreOneRunForEachRow) {
  const std::vector<Run> runs = ListRuns({4, 10}, Box{{1, 6}, {2, 4}}, 0, 40);
  EXPECT_EQ(runs.size(), 2u);
  ExpectRun(runs[0], 16, 0, 4);
  ExpectRun(runs[1], 26, 4, 4);
}

TEST(RunsAreClippedToTheRange) {
  const std::vector<Run> runs = ListRuns({4, 10}, Box{{1, 6}, {2, 4}}, 18, 27);
  EXPECT_EQ(runs.size(), 2u);
  ExpectRun(runs[0], 18, 2, 2);
  ExpectRun(runs[1], 26, 4, 1);
}

TEST(CompleteInnerAxesMerge) {
  const std::vector<Run> rows = ListRuns({4, 10}, Box{{1, 0}, {2, 10}}, 0, 40);
  EXPECT_EQ(rows.size(), 1u);
  ExpectRun(rows[0], 10, 0, 20);
  EXPECT_EQ(ListRuns({2, 3, 4, 5}, Box{{0, 1, 0, 0}, {2, 2, 4, 5}}, 0, 120).size(), 2u);
}

TEST(ScalarsAreOneRunAndEmptyBoxesNone) {
  EXPECT_EQ(ListRuns({}, Box{}, 0, 1).size(), 1u);
  EXPECT_EQ(ListRuns({4}, Box{{2}, {0}}, 0, 4).size(), 0u);
  EXPECT_EQ(ListRuns({4}, Box{{2}, {2}}, 0, 2).size(), 0u);
  EXPECT_EQ(ListRuns({4}, Box{{2}, {2}}, 3, 3).size(), 0u);
}

TEST(AgreesWithListingEveryElement) {
  std::mt19937 random(4);
  for (int i = 0; i < 5000; ++i) {
    Dims shape = RandomShape(&random);
    // Some more axes, up to rank 8.
    while (shape.size() >= 3 && shape.size() < 8 && random() % 2 == 0) {
      shape.push_back(1 + static_cast<int64_t>(random() % 2));
    }
    const std::vector<Box> boxes = RandomTiling(shape, &random);
    const Box& box = boxes[random() % boxes.size()];
    const int64_t elements = Box::Whole(shape).elements();
    int64_t begin = static_cast<int64_t>(random() % (elements + 1));
    int64_t end = static_cast<int64_t>(random() % (elements + 1));
    if (begin > end) std::swap(begin, end);

    std::vector<int64_t> expected;
    const std::vector<int64_t> indices = FlatIndices(shape, box);
    for (size_t source = 0; source < indices.size(); ++source) {
      if (indices[source] < begin || indices[source] >= end) continue;
      expected.push_back(indices[source]);
      expected.push_back(static_cast<int64_t>(source));
    }
    std::vector<int64_t> visited;
    const std::vector<Run> runs = ListRuns(shape, box, begin, end);
    const Run first = RunPlan(shape, box).FirstIn(begin, end);
    EXPECT_EQ(first.count, runs.empty() ? 0 : runs[0].count);
    if (!runs.empty()) ExpectRun(first, runs[0].output, runs[0].source, runs[0].count);
    for (const Run& run : runs) {
      EXPECT_TRUE(run.count > 0);
      for (int64_t n = 0; n < run.count; ++n) {
        visited.push_back(run.output + n);
        visited.push_back(run.source + n);
      }
    }
    EXPECT_EQ(visited, expected);
  }
}

TEST(WhatTwoBoxesShareIsFoundInBoth) {
  std::mt19937 random(5);
  for (int i = 0; i < 5000; ++i) {
    const Dims shape = RandomShape(&random);
    const std::vector<Box> stored = RandomTiling(shape, &random);
    const std::vector<Box> wanted = RandomTiling(shape, &random);
    // Every element of a wanted box arrives once, from where it is stored.
    for (const Box& box : wanted) {
      const std::vector<int64_t> expected = FlatIndices(shape, box);
      std::vector<int64_t> arrived(expected.size(), -1);
      for (const Box& from : stored) {
        const std::vector<int64_t> indices = FlatIndices(shape, from);
        const RunPlan runs = RunPlan::OfShared(from, box);
        int64_t begin = 0;
        const int64_t elements = static_cast<int64_t>(indices.size());
        while (begin < elements) {
          const int64_t end = begin + 1 + static_cast<int64_t>(random() % elements);
          runs.Visit(begin, std::min(end, elements), [&](const Run& run) {
            for (int64_t n = 0; n < run.count; ++n) {
              EXPECT_EQ(arrived[run.source + n], -1);
              arrived[run.source + n] = indices[run.output + n];
            }
          });
          begin = end;
        }
      }
      EXPECT_EQ(arrived, expected);
    }
  }
}

TEST(FindsARangeDeepInsideWithoutSteppingThere) {
  // A quintillion rows.
  const int64_t rows = int64_t{1} << 60;
  const std::vector<Run> runs = ListRuns({rows, 4}, Box{{0, 1}, {rows, 2}}, rows * 4 - 8, rows * 4);
  EXPECT_EQ(runs.size(), 2u);
  ExpectRun(runs[1], rows * 4 - 3, rows * 2 - 2, 2);
}

}  // namespace
}  // namespace autodist
