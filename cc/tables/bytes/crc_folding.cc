// The CRC32C of large memory by carry-less multiplication. The header tells how.

#include "tables/bytes/crc_folding.h"

#ifdef __x86_64__
#include <immintrin.h>
#else
#include <cstdlib>
#endif

namespace autodist {

#ifdef __x86_64__
namespace {

// The polynomial of CRC32C. The first bit of a byte is the one of the highest power, so all
// polynomials here have their bits in reverse.
constexpr uint32_t kPolynomial = 0x82f63b78;

// x to the power of `exponent`, modulo the polynomial. A product of two numbers in reverse is one
// bit too low, hence the shift.
constexpr uint64_t Power(int exponent) {
  uint32_t power = 0x80000000;
  for (int i = 0; i < exponent; ++i) {
    power = (power >> 1) ^ ((power & 1) != 0 ? kPolynomial : 0);
  }
  return uint64_t{power} << 1;
}

// What moves the halves of 16 bytes by kFoldBytes.
constexpr uint64_t kMoveLow = Power(8 * kFoldBytes + 32);
constexpr uint64_t kMoveHigh = Power(8 * kFoldBytes - 32);

constexpr int kRegisters = kFoldBytes / sizeof(__m512i);

}  // namespace

bool CanFold() {
  static const bool can = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("vpclmulqdq");
  return can;
}

__attribute__((target("sse4.2,avx512f,vpclmulqdq"))) uint32_t ExtendByFolding(uint32_t state,
                                                                              const char* bytes,
                                                                              int64_t size) {
  const __m512i factors = _mm512_set4_epi64(kMoveHigh, kMoveLow, kMoveHigh, kMoveLow);
  __m512i folded[kRegisters];
  for (int i = 0; i < kRegisters; ++i) folded[i] = _mm512_loadu_si512(bytes + 64 * i);
  folded[0] = _mm512_xor_si512(
      folded[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int32_t>(state))));
  for (int64_t at = kFoldBytes; at < size; at += kFoldBytes) {
    for (int i = 0; i < kRegisters; ++i) {
      const __m512i low = _mm512_clmulepi64_epi128(folded[i], factors, 0x00);
      const __m512i high = _mm512_clmulepi64_epi128(folded[i], factors, 0x11);
      // 0x96: the XOR of three.
      folded[i] =
          _mm512_ternarylogic_epi64(low, high, _mm512_loadu_si512(bytes + at + 64 * i), 0x96);
    }
  }
  alignas(64) uint64_t words[kFoldBytes / 8];
  for (int i = 0; i < kRegisters; ++i) _mm512_store_si512(words + 8 * i, folded[i]);
  uint64_t rest = 0;
  for (const uint64_t word : words) rest = _mm_crc32_u64(rest, word);
  return static_cast<uint32_t>(rest);
}

#else

bool CanFold() { return false; }

uint32_t ExtendByFolding(uint32_t, const char*, int64_t) { std::abort(); }

#endif

}  // namespace autodist
