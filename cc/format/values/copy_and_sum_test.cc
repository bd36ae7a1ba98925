#include "format/values/copy_and_sum.h"

#include <cstring>
#include <random>
#include <string>

#include "core/testing/testing.h"

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
  }
}

TEST(TheCopyIsExactAndItsSumThatOfAbslAtEverySize) {
  const std::string bytes = RandomBytes(1 << 20);
  std::string copy(bytes.size() + 1, '\0');
  for (size_t size = 0; size <= bytes.size(); size = size * 9 / 8 + 1) {
    const absl::string_view part = absl::string_view(bytes).substr(size % 7, size);
    copy[1 + part.size()] = '!';
    EXPECT_EQ(CopyAndSum(part.data(), part.size(), copy.data() + 1), absl::ComputeCrc32c(part));
    EXPECT_EQ(std::memcmp(copy.data() + 1, part.data(), part.size()), 0);
    EXPECT_EQ(copy[1 + part.size()], '!');
  }
}

}  // namespace
}  // namespace autodist
