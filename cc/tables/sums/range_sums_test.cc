#include "tables/sums/range_sums.h"

#include <random>
#include <string>
#include <vector>

#include "core/testing/testing.h"
#include "tables/bytes/crc32c.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/masked_crc.h"
#include "tables/bytes/varint.h"

namespace autodist {
namespace {

// Bytes that end early, as those of a file that another process cuts.
class ShortSource : public ByteSource {
 public:
  uint64_t size_bytes() const override { return uint64_t{4} << 20; }
  Outcome Read(uint64_t, uint64_t, char*) const override { return Outcome::Damaged("early"); }
};

std::vector<RangeSum> SumAll(const ByteSource& source, const std::vector<StoredRange>& ranges,
                             int threads) {
  RangeSums sums(source, ranges, threads);
  while (!sums.WaitFor(1000)) {
  }
  return sums.sums();
}

StoredRange PlainRange(int64_t offset, int64_t size) { return {offset, size, Content::kPlain, 0}; }

TEST(SumsOfRangesAreThoseOfTheirBytes) {
  std::mt19937 random(12);
  std::string bytes((5 << 20) + 12345, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  const MemorySource source(bytes);
  for (int threads : {1, 2, 7}) {
    std::vector<StoredRange> ranges = {PlainRange(0, static_cast<int64_t>(bytes.size()))};
    for (int i = 0; i < 500; ++i) {
      const int64_t offset = random() % bytes.size();
      const int64_t most = static_cast<int64_t>(bytes.size()) - offset;
      ranges.push_back(
          PlainRange(offset, i % 3 == 0 ? random() % (most + 1) : random() % 100 % (most + 1)));
    }
    ranges.push_back(PlainRange(17, 0));
    const std::vector<RangeSum> sums = SumAll(source, ranges, threads);
    for (size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_TRUE(sums[i].state == SumState::kSummed);
      EXPECT_EQ(sums[i].crc, CrcOf({bytes.data() + ranges[i].offset,
                                    static_cast<size_t>(ranges[i].size_bytes)}));
    }
  }
}

TEST(RangesBeyondTheEndAreMissing) {
  const std::string bytes(100, 'x');
  const std::vector<RangeSum> sums = SumAll(
      MemorySource(bytes),
      {PlainRange(0, 101), PlainRange(100, 0), PlainRange(INT64_MAX - 5, 5), PlainRange(90, 10)},
      2);
  EXPECT_TRUE(sums[0].state == SumState::kMissing);
  EXPECT_TRUE(sums[1].state == SumState::kSummed);
  EXPECT_TRUE(sums[2].state == SumState::kMissing);
  EXPECT_TRUE(sums[3].state == SumState::kSummed);
}

TEST(AFileThatHasBecomeShorterIsMissing) {
  const std::vector<RangeSum> sums = SumAll(
      ShortSource(),
      {PlainRange(0, 3 << 20), PlainRange(3 << 20, 5), {3 << 20, 5, Content::kStrings, 1}}, 2);
  for (const RangeSum& sum : sums) EXPECT_TRUE(sum.state != SumState::kSummed);
}

// Two strings as a checkpoint holds them, and their CRC.
std::string TwoStrings(uint32_t* crc) {
  std::string lengths, summed;
  for (uint32_t length : {uint32_t{3}, uint32_t{0}}) {
    AppendVarint(length, &lengths);
    AppendNumber(length, &summed);
  }
  AppendNumber(MaskCrc(CrcOf(summed)), &lengths);
  AppendNumber(MaskCrc(CrcOf(summed)), &summed);
  *crc = CrcOf(summed + "abc");
  return lengths + "abc";
}

TEST(StringsAreSummedByTheirFormat) {
  uint32_t crc;
  const std::string bytes = TwoStrings(&crc);
  const int64_t size = static_cast<int64_t>(bytes.size());
  std::string buffer(3, '\0');
  uint32_t found;
  EXPECT_TRUE(
      SumRange(MemorySource(bytes), {0, size, Content::kStrings, 2}, &buffer, &found).is_good());
  EXPECT_EQ(found, crc);
  for (int64_t elements : {int64_t{0}, int64_t{1}, int64_t{3}, INT64_MAX}) {
    EXPECT_TRUE(
        !SumRange(MemorySource(bytes), {0, size, Content::kStrings, elements}, &buffer, &found)
             .is_good());
  }
  EXPECT_TRUE(!SumRange(MemorySource(bytes), {0, size - 1, Content::kStrings, 2}, &buffer, &found)
                   .is_good());
  const std::string huge(20, '\xff');
  EXPECT_TRUE(
      !SumRange(MemorySource(huge), {0, 20, Content::kStrings, 1}, &buffer, &found).is_good());
  EXPECT_TRUE(
      !SumRange(MemorySource(huge), {0, 20, Content::kVariants, 1}, &buffer, &found).is_good());
}

TEST(SumsThatAreStoppedEnd) {
  const std::string bytes(64 << 20, 'x');
  const MemorySource source(bytes);
  RangeSums sums(source, {PlainRange(0, static_cast<int64_t>(bytes.size()))}, 2);
  sums.Stop();
  while (!sums.WaitFor(1000)) {
  }
  EXPECT_TRUE(sums.sums()[0].state == SumState::kNotDone);
}

}  // namespace
}  // namespace autodist
