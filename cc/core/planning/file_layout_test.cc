#include "core/planning/file_layout.h"

#include <random>

#include "core/testing/testing.h"
#include "core/testing/testing_boxes.h"

namespace autodist {
namespace {

using testing::RandomShape;
using testing::RandomTiling;

TEST(SlabsAndStreamsCoverTheFileInOrder) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    FileLayout layout;
    int64_t end = 0;
    for (size_t tensor = 0; tensor < 5; ++tensor) {
      if (random() % 4 == 0) {
        layout.AddStream(7);
        EXPECT_EQ(layout.extents()[tensor].offset, end);
        EXPECT_EQ(layout.extents()[tensor].size_bytes, 7);
        end += 7;
        continue;
      }
      const Dims shape = RandomShape(&random);
      const int64_t element_bytes = int64_t{1} << random() % 4;
      const auto slabs = layout.Add(shape, element_bytes, RandomTiling(shape, &random));
      const Extent extent = layout.extents().at(tensor);
      EXPECT_EQ(extent.offset, end);
      EXPECT_EQ(extent.size_bytes, Box::Whole(shape).elements() * element_bytes);
      for (const FileSlab& slab : slabs.value()) {
        EXPECT_EQ(slab.offset, end);
        EXPECT_EQ(slab.offset, extent.offset + slab.slab.begin * element_bytes);
        EXPECT_EQ(slab.size_bytes, (slab.slab.end - slab.slab.begin) * element_bytes);
        end += slab.size_bytes;
      }
      EXPECT_EQ(end, extent.offset + extent.size_bytes);
    }
    EXPECT_EQ(layout.size_bytes(), end);
  }
}

TEST(WhatHasNoPlaceInAFileIsNotAppended) {
  const Dims large = {INT64_MAX / 8, 2};
  FileLayout layout;
  EXPECT_TRUE(layout.Add(large, 4, {Box::Whole(large)}).has_value());
  for (const int64_t element_bytes : {int64_t{4}, INT64_MAX, int64_t{0}, int64_t{-1}}) {
    EXPECT_TRUE(!layout.Add(large, element_bytes, {Box::Whole(large)}).has_value());
  }
  EXPECT_EQ(layout.extents().size(), size_t{1});
  EXPECT_EQ(layout.size_bytes(), INT64_MAX / 8 * 8);
}

}  // namespace
}  // namespace autodist
