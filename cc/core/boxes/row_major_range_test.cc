#include "core/boxes/row_major_range.h"

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::RandomShape;

TEST(TheEndOfARowWholeRowsAndTheBeginningOfOne) {
  const std::vector<Box> boxes = BoxesOfRange({4, 10}, 16, 34);
  EXPECT_EQ(boxes.size(), 3u);
  EXPECT_EQ(boxes[0].ToString(), std::string("[1, 2) x [6, 10)"));
  EXPECT_EQ(boxes[1].ToString(), std::string("[2, 3) x [0, 10)"));
  EXPECT_EQ(boxes[2].ToString(), std::string("[3, 4) x [0, 4)"));
}

TEST(AScalarIsOneBox) { EXPECT_EQ(BoxesOfRange({}, 0, 1).size(), 1u); }

TEST(TheBoxesHoldTheRangeInOrder) {
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    const Dims shape = RandomShape(&random);
    const int64_t elements = Box::Whole(shape).elements();
    const auto begin = static_cast<int64_t>(random() % (elements + 1));
    const auto end = begin + static_cast<int64_t>(random() % (elements - begin + 1));
    const std::vector<Box> boxes = BoxesOfRange(shape, begin, end);
    EXPECT_TRUE(boxes.size() <= 2 * shape.size() + 1);
    int64_t next = begin;
    for (const Box& box : boxes) {
      for (int64_t index : FlatIndices(shape, box)) EXPECT_EQ(index, next++);
    }
    EXPECT_EQ(next, end);
  }
}

}  // namespace
}  // namespace autodist
