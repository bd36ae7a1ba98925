// CRC32C without TensorFlow and absl; see the header.
//
// A CRC is the remainder of a polynomial over bits. Appending n zero bytes multiplies it by x^(8n),
// so the CRC of two runs is that of the first, moved by the second's length, XOR that of the
// second.

#include "tables/bytes/crc32c.h"

#include <array>
#include <cstring>

#include "tables/bytes/crc_folding.h"

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

namespace autodist {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82f63b78;
// Below this the end of folding costs more than it gains.
constexpr size_t kLeastFolded = 1024;

// tables[k][b]: what byte b adds to the remainder when k zero bytes follow it.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) {
      rest = (rest >> 1) ^ ((rest & 1) != 0 ? kReversedPolynomial : 0);
    }
    tables[0][byte] = rest;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (int k = 1; k < 8; ++k) {
      const uint32_t former = tables[k - 1][byte];
      tables[k][byte] = (former >> 8) ^ tables[0][former & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint32_t StateByTables(uint32_t state, const char* bytes, size_t size) {
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    word ^= state;
    state = 0;
    for (int k = 0; k < 8; ++k) state ^= kTables[7 - k][(word >> (8 * k)) & 0xff];
  }
  for (; size > 0; ++bytes, --size) {
    state = (state >> 8) ^ kTables[0][(state ^ static_cast<unsigned char>(*bytes)) & 0xff];
  }
  return state;
}

#ifdef __x86_64__

bool HasInstruction() {
  static const bool has = __builtin_cpu_supports("sse4.2");
  return has;
}

__attribute__((target("sse4.2"))) uint32_t StateByInstruction(uint32_t state, const char* bytes,
                                                              size_t size) {
  uint64_t wide = state;
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  uint32_t narrow = static_cast<uint32_t>(wide);
  for (; size > 0; ++bytes, --size) {
    narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(*bytes));
  }
  return narrow;
}

uint32_t StateAfter(uint32_t state, const char* bytes, size_t size) {
  if (size >= kLeastFolded && CanFold()) {
    const size_t folded = size - size % kFoldBytes;
    state = ExtendByFolding(state, bytes, static_cast<int64_t>(folded));
    bytes += folded;
    size -= folded;
  }
  return HasInstruction() ? StateByInstruction(state, bytes, size)
                          : StateByTables(state, bytes, size);
}

#else

uint32_t StateAfter(uint32_t state, const char* bytes, size_t size) {
  return StateByTables(state, bytes, size);
}

#endif

// The product of two polynomials whose highest power is the lowest bit, modulo the CRC's.
constexpr uint32_t Product(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int bit = 31; bit >= 0; --bit) {
    if (((a >> bit) & 1) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kReversedPolynomial : 0);
  }
  return product;
}

// x^(8 * 2^k).
constexpr std::array<uint32_t, 64> MakePowers() {
  std::array<uint32_t, 64> powers{};
  powers[0] = 0x00800000;  // x^8
  for (int k = 1; k < 64; ++k) powers[k] = Product(powers[k - 1], powers[k - 1]);
  return powers;
}

constexpr std::array<uint32_t, 64> kPowers = MakePowers();

}  // namespace

uint32_t ExtendCrc(uint32_t crc, std::string_view bytes) {
  return ~StateAfter(~crc, bytes.data(), bytes.size());
}

uint32_t ExtendCrcByTables(uint32_t crc, std::string_view bytes) {
  return ~StateByTables(~crc, bytes.data(), bytes.size());
}

uint32_t ConcatCrc(uint32_t first, uint32_t second, uint64_t size) {
  for (int k = 0; size != 0; ++k, size >>= 1) {
    if ((size & 1) != 0) first = Product(kPowers[k], first);
  }
  return first ^ second;
}

}  // namespace autodist
