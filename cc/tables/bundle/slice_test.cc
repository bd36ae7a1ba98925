#include "tables/bundle/slice.h"

#include <random>
#include <string>
#include <vector>

#include "core/testing/testing.h"
#include "tables/bytes/varint.h"

namespace autodist {
namespace {

// Whether the number that stands first in a key sorts as it should.
std::string NumberKey(int64_t start) { return SliceKey("w", {{start, 1}}); }

TEST(KeysSortAsNamesAndPlacesDo) {
  std::mt19937_64 random(8);
  std::vector<int64_t> starts = {0, 1, 63, 64, 65, 8191, 8192, INT64_MAX};
  for (int i = 0; i < 2000; ++i)
    starts.push_back(static_cast<int64_t>(random() >> (random() % 63 + 1)));
  for (size_t i = 1; i < starts.size(); ++i) {
    EXPECT_EQ(starts[i - 1] < starts[i], NumberKey(starts[i - 1]) < NumberKey(starts[i]));
  }
  EXPECT_TRUE(SliceKey("a", {}) < SliceKey("b", {}));
  EXPECT_TRUE(SliceKey("a", {{5, 5}}) < SliceKey("aa", {{0, 5}}));
}

// Keys of stock TensorFlow 2.21, written down once.
TEST(KeysAreThoseOfTensorFlow) {
  EXPECT_EQ(SliceKey("w", {}), std::string("\0w\0\1\0", 5));
  EXPECT_EQ(SliceKey("w", {{0, kAllOfAxis}}), std::string("\0w\0\1\1\1\x80\x7f", 8));
  EXPECT_EQ(SliceKey("w", {{3, 64}}), std::string("\0w\0\1\1\1\x83\xc0\x40", 9));
  EXPECT_EQ(SliceKey(std::string("a\0\xff", 3), {}), std::string("\0a\0\xff\xff\0\0\1\0", 9));
}

TEST(ASliceIsSpelledAsTensorFlowDoes) {
  EXPECT_EQ(SliceText({}), "");
  EXPECT_EQ(SliceText({{0, 4}, {0, kAllOfAxis}}), "0,4:-");
}

TEST(ASliceLiesInItsTensorOrNowhere) {
  EXPECT_TRUE(BoxOfSlice({{2, 3}, {0, kAllOfAxis}}, {5, 7}) == (Box{{2, 0}, {3, 7}}));
  EXPECT_TRUE(BoxOfSlice({}, {}) == (Box{{}, {}}));
  EXPECT_TRUE(!BoxOfSlice({{3, 3}}, {5}));
  EXPECT_TRUE(!BoxOfSlice({{6, 0}}, {5}));
  EXPECT_TRUE(!BoxOfSlice({{0, 1}}, {5, 5}));
  EXPECT_TRUE(!BoxOfSlice({{INT64_MAX, 1}}, {5}));
}

std::string Field(int number, const std::string& bytes) {
  std::string field(1, static_cast<char>(number << 3 | 2));
  AppendVarint(bytes.size(), &field);
  return field + bytes;
}

std::string Number(int number, uint64_t value) {
  std::string field(1, static_cast<char>(number << 3));
  AppendVarint(value, &field);
  return field;
}

TEST(MessagesThatAreNoShapeOrSliceAreRefused) {
  Slice slice;
  EXPECT_TRUE(ParseSlice(Field(1, Number(1, 2) + Number(2, 3)) + Field(1, ""), &slice).is_good());
  EXPECT_EQ(SliceText(slice), "2,3:-");
  Dims shape;
  EXPECT_TRUE(ParseShape(Field(2, Number(1, 2)) + Field(2, Number(1, 3)), &shape).is_good());
  EXPECT_EQ(shape, (Dims{2, 3}));
  std::string many;
  for (int i = 0; i < 255; ++i) many += Field(2, Number(1, 1));
  for (const std::string& bad : {many, std::string("\xff"), Number(3, 1), Field(2, "\x08")}) {
    Dims unused;
    EXPECT_TRUE(!ParseShape(bad, &unused).is_good());
  }
  for (const std::string& extent :
       {Number(1, UINT64_MAX), Number(2, UINT64_MAX), Number(1, INT64_MAX) + Number(2, 1),
        Number(1, 3), std::string("\x0b")}) {
    Slice unused;
    EXPECT_TRUE(!ParseSlice(Field(1, extent), &unused).is_good());
  }
}

}  // namespace
}  // namespace autodist
