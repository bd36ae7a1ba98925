#include "format/values/copy_and_sum.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/testing/testing.h"
#include "tables/bytes/crc_folding.h"

namespace autodist {
namespace {

std::string RandomBytes(size_t size) {
  std::mt19937 random(1);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(TheSumIsThatOfAbslAtEverySize) {
  const std::string bytes = RandomBytes(1 << 20);
  for (size_t size = 0; size <= bytes.size(); size = size * 9 / 8 + 1) {
    // An odd start: nothing is aligned.
    const absl::string_view part = absl::string_view(bytes).substr(size % 7, size);
    EXPECT_EQ(Sum(part.data(), part.size()), absl::ComputeCrc32c(part));
    EXPECT_EQ(SumInLanes(part.data(), part.size()), absl::ComputeCrc32c(part));
  }
}

TEST(TheCopyIsExactAndItsSumThatOfAbslAtEverySize) {
  const std::string bytes = RandomBytes(1 << 20);
  std::string copy(bytes.size() + 2, '\0');
  for (size_t size = 0; size <= bytes.size(); size = size * 9 / 8 + 1) {
    const absl::string_view part = absl::string_view(bytes).substr(size % 7, size);
    for (const auto copy_and_sum :
         {+[](const char* from, int64_t size, char* to) { return CopyAndSum(from, size, to); },
          &CopyAndSumInLanes}) {
      copy.assign(copy.size(), '!');
      EXPECT_EQ(copy_and_sum(part.data(), part.size(), copy.data() + 1), absl::ComputeCrc32c(part));
      EXPECT_EQ(std::memcmp(copy.data() + 1, part.data(), part.size()), 0);
      EXPECT_EQ(copy[1 + part.size()], '!');
    }
  }
}

TEST(FoldingGoesOnFromAnyState) {
  if (!CanFold()) return;
  const std::string bytes = RandomBytes(40 * kFoldBytes + 7);
  for (int64_t size = kFoldBytes; size + 7 <= static_cast<int64_t>(bytes.size());
       size += kFoldBytes) {
    for (int64_t offset = 0; offset < 7; ++offset) {
      const absl::string_view part = absl::string_view(bytes).substr(offset, size);
      const absl::crc32c_t before = absl::ComputeCrc32c(bytes.substr(0, offset));
      const uint32_t state = ~static_cast<uint32_t>(before);
      EXPECT_EQ(~ExtendByFolding(state, part.data(), size),
                static_cast<uint32_t>(absl::ExtendCrc32c(before, part)));
    }
  }
}

class Noting : public PieceObserver {
 public:
  void Observe(const char* bytes, int64_t size) override {
    sizes.push_back(size);
    seen.append(bytes, static_cast<size_t>(size));
  }
  std::vector<int64_t> sizes;
  std::string seen;
};

// All bytes, in pieces that do not depend on whether they were copied.
TEST(AnObserverSeesTheCopyInPieces) {
  for (const int64_t size : {0, 1, 3071, 16383, 16384, 16385, 16640, 40000, 300000}) {
    std::string bytes(size, 0);
    for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 1000);
    std::string copy(size, 0);
    Noting copied, summed;
    const absl::crc32c_t crc = CopyAndSum(bytes.data(), size, copy.data(), &copied);
    EXPECT_EQ(crc, Sum(bytes.data(), size, &summed));
    EXPECT_EQ(crc, absl::ComputeCrc32c(bytes));
    EXPECT_TRUE(copied.seen == bytes && summed.seen == bytes);
    EXPECT_TRUE(copied.sizes == summed.sizes);
    for (size_t i = 0; i + 1 < copied.sizes.size(); ++i) EXPECT_EQ(copied.sizes[i], kObservedBytes);
  }
}

}  // namespace
}  // namespace autodist
