#include "tables/bytes/crc32c.h"

#include <random>
#include <string>

#include "core/testing/testing.h"
#include "tables/bytes/masked_crc.h"

namespace autodist {
namespace {

// Bit by bit, as the definition has it.
uint32_t SlowCrc(const std::string& bytes) {
  uint32_t state = 0xffffffff;
  for (const char c : bytes) {
    state ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78 : 0);
  }
  return ~state;
}

std::string Drawn(size_t size, std::mt19937* random) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>((*random)());
  return bytes;
}

TEST(CrcsAreThoseOfTheDefinition) {
  EXPECT_EQ(CrcOf("123456789"), 0xe3069283u);
  EXPECT_EQ(CrcOf(""), 0u);
  std::mt19937 random(5);
  for (size_t size : {1, 7, 8, 9, 255, 1023, 1024, 1279, 1280, 5000, 70001}) {
    const std::string bytes = Drawn(size, &random);
    EXPECT_EQ(CrcOf(bytes), SlowCrc(bytes));
    EXPECT_EQ(ExtendCrcByTables(0, bytes), SlowCrc(bytes));
  }
}

TEST(ACrcIsExtendedAndJoined) {
  std::mt19937 random(6);
  for (int round = 0; round < 200; ++round) {
    const std::string first = Drawn(random() % 3000, &random);
    const std::string second = Drawn(random() % 3000, &random);
    EXPECT_EQ(ExtendCrc(CrcOf(first), second), SlowCrc(first + second));
    EXPECT_EQ(ConcatCrc(CrcOf(first), CrcOf(second), second.size()), SlowCrc(first + second));
  }
  EXPECT_EQ(ConcatCrc(CrcOf("a"), 0, 0), CrcOf("a"));
  EXPECT_EQ(UnmaskCrc(MaskCrc(0x12345678)), 0x12345678u);
}

}  // namespace
}  // namespace autodist
