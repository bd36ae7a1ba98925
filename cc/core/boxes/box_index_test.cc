#include "core/boxes/box_index.h"

#include <algorithm>

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::RandomShape;
using testing::RandomTiling;

TEST(AgreesWithComparingAllPairs) {
  std::mt19937 random(6);
  for (int i = 0; i < 2000; ++i) {
    const Dims shape = RandomShape(&random);
    std::vector<Box> boxes;
    // Of several tilings, so that boxes overlap and are many.
    for (int n = 0; n < 6; ++n) {
      for (Box& box : RandomTiling(shape, &random)) boxes.push_back(std::move(box));
    }
    const BoxIndex index(&boxes);
    for (const Box& box : RandomTiling(shape, &random)) {
      std::vector<int> expected;
      for (size_t other = 0; other < boxes.size(); ++other) {
        const std::optional<Box> shared = Intersect(boxes[other], box);
        if (shared && shared->elements() > 0) expected.push_back(static_cast<int>(other));
      }
      std::vector<int> found = index.Find(box);
      std::sort(found.begin(), found.end());
      EXPECT_EQ(found, expected);
    }
  }
}

TEST(NothingIsFoundAmongNone) {
  const std::vector<Box> none;
  EXPECT_TRUE(BoxIndex(&none).Find(Box{{0}, {4}}).empty());
  const std::vector<Box> empty = {Box{{2}, {0}}};
  EXPECT_TRUE(BoxIndex(&empty).Find(Box{{0}, {4}}).empty());
}

TEST(FoundInTheOrderOfTheirFirstElements) {
  std::vector<Box> boxes;
  for (int64_t i = 99; i >= 0; --i) boxes.push_back(Box{{i}, {1}});
  const std::vector<int> found = BoxIndex(&boxes).Find(Box{{10}, {3}});
  EXPECT_EQ(found, (std::vector<int>{89, 88, 87}));
}

}  // namespace
}  // namespace autodist
