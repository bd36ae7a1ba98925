#include "core/boxes/tiling.h"

#include <limits>

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::RandomShape;
using testing::RandomTiling;

// Counts how often each element is covered.
bool TilesByCounting(const Dims& shape, const std::vector<Box>& boxes) {
  std::vector<int> covered(Box::Whole(shape).elements(), 0);
  for (const Box& box : boxes) {
    for (int64_t index : FlatIndices(shape, box)) ++covered[index];
  }
  for (int count : covered) {
    if (count != 1) return false;
  }
  return true;
}

std::vector<Box> Grid(int64_t rows, int64_t columns) {
  std::vector<Box> boxes;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      boxes.push_back(Box{{row * 2, column * 3}, {2, 3}});
    }
  }
  return boxes;
}

std::vector<Box> Pinwheel() {
  return {Box{{0, 0}, {1, 2}}, Box{{0, 2}, {2, 1}}, Box{{2, 1}, {1, 2}}, Box{{1, 0}, {2, 1}},
          Box{{1, 1}, {1, 1}}};
}

TEST(AcceptsRandomTilings) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const Dims shape = RandomShape(&random);
    EXPECT_EQ(CheckTiling(shape, RandomTiling(shape, &random)), std::nullopt);
  }
}

TEST(AgreesWithCountingOnDamagedTilings) {
  std::mt19937 random(2);
  for (int i = 0; i < 5000; ++i) {
    const Dims shape = RandomShape(&random);
    std::vector<Box> boxes = RandomTiling(shape, &random);
    const size_t chosen = random() % boxes.size();
    if (random() % 3 == 0) boxes.erase(boxes.begin() + chosen);
    if (!boxes.empty() && !shape.empty() && random() % 2 == 0) {
      Box& box = boxes[random() % boxes.size()];
      const size_t axis = random() % shape.size();
      if (box.start[axis] > 0 && random() % 2 == 0) --box.start[axis];
      if (box.start[axis] + box.extent[axis] < shape[axis]) ++box.extent[axis];
    }
    if (!boxes.empty() && random() % 5 == 0) boxes.push_back(boxes[random() % boxes.size()]);
    EXPECT_EQ(!CheckTiling(shape, boxes), TilesByCounting(shape, boxes));
  }
}

TEST(AcceptsScalarsAndEmptyTensors) {
  EXPECT_EQ(CheckTiling({}, {Box{}}), std::nullopt);
  EXPECT_EQ(CheckTiling({0, 5}, {}), std::nullopt);
  EXPECT_EQ(CheckTiling({0, 5}, {Box{{0, 0}, {0, 5}}, Box{{0, 0}, {0, 5}}}), std::nullopt);
}

TEST(AcceptsBoxesThatNoStraightCutDivides) {
  EXPECT_EQ(CheckTiling({3, 3}, Pinwheel()), std::nullopt);
}

TEST(NamesRowsThatAreMissing) {
  EXPECT_EQ(CheckTiling({100, 3}, {Box{{90, 0}, {10, 3}}, Box{{0, 0}, {80, 3}}}).value(),
            "shards cover rows [0, 80) and [90, 100) of 100; rows [80, 90) are missing");
  EXPECT_EQ(CheckTiling({3, 100}, {Box{{0, 0}, {3, 80}}}).value(),
            "shards cover indices [0, 80) of 100 along axis 1; indices [80, 100) are missing");
}

TEST(NamesABoxThatIsMissing) {
  std::vector<Box> boxes = Grid(3, 2);
  boxes.erase(boxes.begin() + 3);
  EXPECT_EQ(CheckTiling({6, 6}, boxes).value(),
            "shards cover 30 of 36 elements of the full shape [6, 6]; [2, 4) x [3, 6) is missing");
  boxes = Pinwheel();
  boxes.pop_back();
  EXPECT_EQ(CheckTiling({3, 3}, boxes).value(),
            "shards cover 8 of 9 elements of the full shape [3, 3]; [1, 2) x [1, 2) is missing");
}

TEST(SaysThatNothingIsCovered) {
  EXPECT_EQ(CheckTiling({4}, {Box{{1}, {0}}}).value(),
            "no shard covers any element of the full shape [4]");
  EXPECT_EQ(CheckTiling({}, {}).value(), "no shard covers any element of the full shape []");
}

TEST(NamesOverlappingBoxesAndWhatTheyShare) {
  EXPECT_EQ(
      CheckTiling({10, 4}, {Box{{0, 0}, {6, 4}}, Box{{5, 0}, {5, 4}}}).value(),
      "shards [0, 6) x [0, 4) and [5, 10) x [0, 4) overlap in [5, 6) x [0, 4) of the full shape "
      "[10, 4]");
  EXPECT_EQ(CheckTiling({}, {Box{}, Box{}}).value(),
            "shards scalar and scalar overlap in scalar of the full shape []");
}

TEST(NamesABoxThatDoesNotFit) {
  EXPECT_EQ(CheckTiling({10}, {Box{{5}, {6}}}).value(),
            "a shard starts at [5] with extents [6] and does not fit the full shape [10]: along "
            "axis 0 it "
            "starts at 5 and is 6 long, of 10");
  EXPECT_TRUE(CheckTiling({10}, {Box{{-1}, {6}}}));
  EXPECT_TRUE(CheckTiling({10}, {Box{{5}, {-1}}}));
  EXPECT_TRUE(CheckTiling({10}, {Box{{5}, {std::numeric_limits<int64_t>::max()}}}));
}

TEST(NamesABoxOfAnotherRank) {
  EXPECT_EQ(CheckTiling({10}, {Box{{0, 0}, {10, 1}}}).value(),
            "a shard has starts [0, 0] and extents [10, 1], but the full shape [10] has rank 1");
}

TEST(RefusesAShapeThatCannotBe) {
  EXPECT_TRUE(CheckTiling({-1}, {}));
  EXPECT_TRUE(CheckTiling({int64_t{1} << 40, int64_t{1} << 40}, {}));
}

TEST(ChecksManyShardsQuickly) {
  std::vector<Box> rows;
  for (int64_t row = 0; row < 300'000; ++row) rows.push_back(Box{{row}, {1}});
  EXPECT_EQ(CheckTiling({300'000}, rows), std::nullopt);
  std::vector<Box> grid = Grid(300, 300);
  EXPECT_EQ(CheckTiling({600, 900}, grid), std::nullopt);
  grid.erase(grid.begin() + 45'000);
  EXPECT_TRUE(CheckTiling({600, 900}, grid));
}

}  // namespace
}  // namespace autodist
