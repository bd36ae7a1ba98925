#include "core/boxes/box.h"

#include <limits>

#include "core/testing/testing.h"

namespace autodist {
namespace {

TEST(CountsElements) {
  EXPECT_EQ(CheckedElements({}).value(), 1);
  EXPECT_EQ(CheckedElements({2, 3, 5}).value(), 30);
  EXPECT_EQ((Box{{1, 2}, {4, 6}}.elements()), 24);
}

TEST(RefusesNegativeAndUncountableDimensions) {
  const int64_t big = std::numeric_limits<int64_t>::max();
  EXPECT_TRUE(!CheckedElements({2, -1}));
  EXPECT_TRUE(!CheckedElements({big, 2}));
  EXPECT_TRUE(!CheckedElements({0, -1}));
  EXPECT_EQ(CheckedElements({big, 2, 0}).value(), 0);
}

TEST(PrintsHalfOpenRanges) {
  EXPECT_EQ((Box{{0, 2}, {4, 6}}.ToString()), "[0, 4) x [2, 8)");
  EXPECT_EQ(Box::Whole({}).ToString(), "scalar");
  EXPECT_EQ(DimsToString({4, 10}), "[4, 10]");
}

TEST(WholeStartsAtTheOrigin) {
  EXPECT_TRUE((Box::Whole({4, 10}) == Box{{0, 0}, {4, 10}}));
  EXPECT_EQ(Box::Whole({4, 10}).rank(), 2);
}

}  // namespace
}  // namespace autodist
