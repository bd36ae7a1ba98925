#include "core/boxes/slabs.h"

#include <algorithm>

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::RandomShape;
using testing::RandomTiling;

TEST(RowShardsAreSlabsOfTheirOwn) {
  const std::vector<Slab> slabs = PlanSlabs({4, 10}, {Box{{1, 0}, {3, 10}}, Box{{0, 0}, {1, 10}}});
  EXPECT_EQ(slabs.size(), 2u);
  EXPECT_EQ(slabs[0].begin, 0);
  EXPECT_EQ(slabs[0].end, 10);
  EXPECT_EQ(slabs[0].boxes, std::vector<int>{1});
  EXPECT_EQ(slabs[1].begin, 10);
  EXPECT_EQ(slabs[1].end, 40);
  EXPECT_EQ(slabs[1].boxes, std::vector<int>{0});
}

TEST(ColumnShardsShareOneSlab) {
  const std::vector<Slab> slabs = PlanSlabs({4, 10}, {Box{{0, 0}, {4, 6}}, Box{{0, 6}, {4, 4}}});
  EXPECT_EQ(slabs.size(), 1u);
  EXPECT_EQ(slabs[0].end, 40);
  EXPECT_EQ(slabs[0].boxes, (std::vector<int>{0, 1}));
}

TEST(AGridHasOneSlabForEachRowOfShards) {
  std::vector<Box> boxes;
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t column = 0; column < 4; ++column) {
      boxes.push_back(Box{{row * 3, column * 5}, {3, 5}});
    }
  }
  const std::vector<Slab> slabs = PlanSlabs({6, 20}, boxes);
  EXPECT_EQ(slabs.size(), 2u);
  EXPECT_EQ(slabs[0].boxes, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(slabs[1].boxes, (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(slabs[1].begin, 60);
}

TEST(ColumnShardsOfASingleRowAreSlabsOfTheirOwn) {
  EXPECT_EQ(PlanSlabs({1, 10}, {Box{{0, 0}, {1, 6}}, Box{{0, 6}, {1, 4}}}).size(), 2u);
}

TEST(EmptyTensorsHaveNoSlabsAndScalarsOne) {
  EXPECT_EQ(PlanSlabs({0, 3}, {Box{{0, 0}, {0, 3}}}).size(), 0u);
  EXPECT_EQ(PlanSlabs({}, {Box{}}).size(), 1u);
}

TEST(SlabsPartitionTheTensorAndHoldEveryBoxThatReachesIn) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    const Dims shape = RandomShape(&random);
    const std::vector<Box> boxes = RandomTiling(shape, &random);
    int64_t end = 0;
    std::vector<int> seen;
    for (const Slab& slab : PlanSlabs(shape, boxes)) {
      EXPECT_EQ(slab.begin, end);
      end = slab.end;
      for (int box : slab.boxes) {
        seen.push_back(box);
        for (int64_t index : FlatIndices(shape, boxes[box])) {
          EXPECT_TRUE(slab.begin <= index && index < slab.end);
        }
      }
    }
    EXPECT_EQ(end, Box::Whole(shape).elements());
    std::sort(seen.begin(), seen.end());
    std::vector<int> filled;
    for (size_t box = 0; box < boxes.size(); ++box) {
      if (boxes[box].elements() > 0) filled.push_back(static_cast<int>(box));
    }
    EXPECT_EQ(seen, filled);
  }
}

}  // namespace
}  // namespace autodist
