// The figures of a piece of floats or doubles, in vector instructions of x86-64.
//
// Each function takes the elements that fill its vectors, and says how many those are: at least the
// first ones, REQUIRES: enough for one round (64). Several accumulators of each kind hide the
// latency of the instructions. The widest vectors do four instructions for 16 floats, two a cycle.

#ifndef AUTODIST_CORE_FIGURES_CHUNK_SUMS_H_
#define AUTODIST_CORE_FIGURES_CHUNK_SUMS_H_

#include <cstdint>

namespace autodist::figuring {

// Elements. A piece is taken at a time; squares of a chunk are added in float.
inline constexpr int64_t kPiece = 4096;
inline constexpr int64_t kChunk = 2048;

// Of elements of a piece. Without a meaning where `squares` is not finite.
struct PieceSums {
  double min;
  double max;
  double sum;
  double squares;
  int64_t count;  // of the elements that were taken
};

}  // namespace autodist::figuring

#if defined(__x86_64__)

// GCC 12 takes the undefined operands in its own AVX-512 functions for a mistake (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#define AUTODIST_FIGURES_INLINE inline __attribute__((always_inline))
#define AUTODIST_FIGURES_AVX2 __attribute__((target("avx2,f16c,fma")))
#define AUTODIST_FIGURES_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c,fma")))

namespace autodist::figuring {

// How formats are loaded as floats: two vectors of 8, or of 16, at a time, in any order.

struct LoadFloat32 {
  using Bits = uint32_t;
  AUTODIST_FIGURES_AVX2 static AUTODIST_FIGURES_INLINE void Load(const char* from, __m256* a,
                                                                 __m256* b) {
    *a = _mm256_loadu_ps(reinterpret_cast<const float*>(from));
    *b = _mm256_loadu_ps(reinterpret_cast<const float*>(from) + 8);
  }
  AUTODIST_FIGURES_AVX512 static AUTODIST_FIGURES_INLINE void Load(const char* from, __m512* a,
                                                                   __m512* b) {
    *a = _mm512_loadu_ps(from);
    *b = _mm512_loadu_ps(from + 64);
  }
};

struct LoadFloat16 {
  using Bits = uint16_t;
  AUTODIST_FIGURES_AVX2 static AUTODIST_FIGURES_INLINE void Load(const char* from, __m256* a,
                                                                 __m256* b) {
    *a = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    *b = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + 1));
  }
  AUTODIST_FIGURES_AVX512 static AUTODIST_FIGURES_INLINE void Load(const char* from, __m512* a,
                                                                   __m512* b) {
    *a = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    *b = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + 1));
  }
};

struct LoadBFloat16 {
  using Bits = uint16_t;
  // A float is the upper half of 32 bits: those at even places are moved there.
  AUTODIST_FIGURES_AVX2 static AUTODIST_FIGURES_INLINE void Load(const char* from, __m256* a,
                                                                 __m256* b) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000));
    *a = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    *b = _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
  }
  AUTODIST_FIGURES_AVX512 static AUTODIST_FIGURES_INLINE void Load(const char* from, __m512* a,
                                                                   __m512* b) {
    const __m512i pairs = _mm512_loadu_si512(from);
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    *a = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    *b = _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
  }
};

// The lanes of vectors, added up in double in their order.
template <typename Float>
PieceSums JoinLanes(const Float* mins, const Float* maxs, int extreme_count, const double* sums,
                    const double* squares, int sum_count, int64_t taken) {
  PieceSums joined{static_cast<double>(mins[0]), static_cast<double>(maxs[0]), 0, 0, taken};
  for (int i = 1; i < extreme_count; ++i) {
    const auto min = static_cast<double>(mins[i]), max = static_cast<double>(maxs[i]);
    joined.min = min < joined.min ? min : joined.min;
    joined.max = max > joined.max ? max : joined.max;
  }
  for (int i = 0; i < sum_count; ++i) {
    joined.sum += sums[i];
    joined.squares += squares[i];
  }
  return joined;
}

// Adds four vectors of floats to one of doubles.
AUTODIST_FIGURES_AVX512 AUTODIST_FIGURES_INLINE __m512d AddWide(__m512d sum, __m512 a, __m512 b,
                                                                __m512 c, __m512 d) {
  const __m512 all = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(all));
  const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(all, 1));
  return _mm512_add_pd(sum, _mm512_add_pd(low, high));
}

AUTODIST_FIGURES_AVX2 AUTODIST_FIGURES_INLINE __m256d AddWide(__m256d sum, __m256 a, __m256 b,
                                                              __m256 c, __m256 d) {
  const __m256 all = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
  const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(all));
  const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(all, 1));
  return _mm256_add_pd(sum, _mm256_add_pd(low, high));
}

// For floats by a product with 1. What has to be widened first needs all registers.
template <typename Format>
AUTODIST_FIGURES_AVX2 AUTODIST_FIGURES_INLINE __m256 AddTo(__m256 sum, __m256 x, __m256 one) {
  if constexpr (sizeof(typename Format::Bits) == 4) return _mm256_fmadd_ps(x, one, sum);
  return _mm256_add_ps(sum, x);
}

// The elements times `scale`, where kIsScaled.
template <typename Format, bool kIsScaled>
AUTODIST_FIGURES_AVX512 inline PieceSums FloatsAvx512(const char* bytes, int64_t count,
                                                      float scale) {
  constexpr int64_t kStep = 16 * sizeof(typename Format::Bits);
  const __m512 factor = _mm512_set1_ps(scale), one = _mm512_set1_ps(1);
  __m512 x0, x1, x2, x3;
  Format::Load(bytes, &x0, &x1);
  if constexpr (kIsScaled) x0 = _mm512_mul_ps(x0, factor);
  __m512 min0 = x0, min1 = x0, min2 = x0, min3 = x0, max0 = x0, max1 = x0, max2 = x0, max3 = x0;
  __m512d sum = _mm512_setzero_pd(), square = _mm512_setzero_pd();
  const int64_t taken = count / 64 * 64;
  for (int64_t begin = 0; begin < taken; begin += kChunk) {
    const int64_t end = taken < begin + kChunk ? taken : begin + kChunk;
    __m512 sum0, sum1, sum2, sum3, square0, square1, square2, square3;
    sum0 = sum1 = sum2 = sum3 = square0 = square1 = square2 = square3 = _mm512_setzero_ps();
    for (int64_t i = begin; i < end; i += 64, bytes += 4 * kStep) {
      Format::Load(bytes, &x0, &x1);
      Format::Load(bytes + 2 * kStep, &x2, &x3);
      if constexpr (kIsScaled) {
        x0 = _mm512_mul_ps(x0, factor), x1 = _mm512_mul_ps(x1, factor);
        x2 = _mm512_mul_ps(x2, factor), x3 = _mm512_mul_ps(x3, factor);
      }
      min0 = _mm512_min_ps(min0, x0), max0 = _mm512_max_ps(max0, x0);
      min1 = _mm512_min_ps(min1, x1), max1 = _mm512_max_ps(max1, x1);
      min2 = _mm512_min_ps(min2, x2), max2 = _mm512_max_ps(max2, x2);
      min3 = _mm512_min_ps(min3, x3), max3 = _mm512_max_ps(max3, x3);
      sum0 = _mm512_fmadd_ps(x0, one, sum0), square0 = _mm512_fmadd_ps(x0, x0, square0);
      sum1 = _mm512_fmadd_ps(x1, one, sum1), square1 = _mm512_fmadd_ps(x1, x1, square1);
      sum2 = _mm512_fmadd_ps(x2, one, sum2), square2 = _mm512_fmadd_ps(x2, x2, square2);
      sum3 = _mm512_fmadd_ps(x3, one, sum3), square3 = _mm512_fmadd_ps(x3, x3, square3);
    }
    sum = AddWide(sum, sum0, sum1, sum2, sum3);
    square = AddWide(square, square0, square1, square2, square3);
  }
  const __m512 min = _mm512_min_ps(_mm512_min_ps(min0, min1), _mm512_min_ps(min2, min3));
  const __m512 max = _mm512_max_ps(_mm512_max_ps(max0, max1), _mm512_max_ps(max2, max3));
  return {_mm512_reduce_min_ps(min), _mm512_reduce_max_ps(max), _mm512_reduce_add_pd(sum),
          _mm512_reduce_add_pd(square), taken};
}

template <typename Format, bool kIsScaled>
AUTODIST_FIGURES_AVX2 inline PieceSums FloatsAvx2(const char* bytes, int64_t count, float scale) {
  constexpr int64_t kStep = 8 * sizeof(typename Format::Bits);
  const __m256 factor = _mm256_set1_ps(scale), one = _mm256_set1_ps(1);
  __m256 x0, x1, x2, x3;
  Format::Load(bytes, &x0, &x1);
  if constexpr (kIsScaled) x0 = _mm256_mul_ps(x0, factor);
  __m256 min0 = x0, min1 = x0, max0 = x0, max1 = x0;
  __m256d sum = _mm256_setzero_pd(), square = _mm256_setzero_pd();
  const int64_t taken = count / 32 * 32;
  for (int64_t begin = 0; begin < taken; begin += kChunk) {
    const int64_t end = taken < begin + kChunk ? taken : begin + kChunk;
    __m256 sum0, sum1, sum2, sum3, square0, square1, square2, square3;
    sum0 = sum1 = sum2 = sum3 = square0 = square1 = square2 = square3 = _mm256_setzero_ps();
    for (int64_t i = begin; i < end; i += 32, bytes += 4 * kStep) {
      Format::Load(bytes, &x0, &x1);
      Format::Load(bytes + 2 * kStep, &x2, &x3);
      if constexpr (kIsScaled) {
        x0 = _mm256_mul_ps(x0, factor), x1 = _mm256_mul_ps(x1, factor);
        x2 = _mm256_mul_ps(x2, factor), x3 = _mm256_mul_ps(x3, factor);
      }
      min0 = _mm256_min_ps(min0, x0), max0 = _mm256_max_ps(max0, x0);
      min1 = _mm256_min_ps(min1, x1), max1 = _mm256_max_ps(max1, x1);
      min0 = _mm256_min_ps(min0, x2), max0 = _mm256_max_ps(max0, x2);
      min1 = _mm256_min_ps(min1, x3), max1 = _mm256_max_ps(max1, x3);
      sum0 = AddTo<Format>(sum0, x0, one), square0 = _mm256_fmadd_ps(x0, x0, square0);
      sum1 = AddTo<Format>(sum1, x1, one), square1 = _mm256_fmadd_ps(x1, x1, square1);
      sum2 = AddTo<Format>(sum2, x2, one), square2 = _mm256_fmadd_ps(x2, x2, square2);
      sum3 = AddTo<Format>(sum3, x3, one), square3 = _mm256_fmadd_ps(x3, x3, square3);
    }
    sum = AddWide(sum, sum0, sum1, sum2, sum3);
    square = AddWide(square, square0, square1, square2, square3);
  }
  float mins[8], maxs[8];
  double sums[4], squares[4];
  _mm256_storeu_ps(mins, _mm256_min_ps(min0, min1));
  _mm256_storeu_ps(maxs, _mm256_max_ps(max0, max1));
  _mm256_storeu_pd(sums, sum), _mm256_storeu_pd(squares, square);
  return JoinLanes(mins, maxs, 8, sums, squares, 4, taken);
}

AUTODIST_FIGURES_AVX512 inline PieceSums DoublesAvx512(const char* bytes, int64_t count) {
  const __m512d one = _mm512_set1_pd(1);
  __m512d x0 = _mm512_loadu_pd(bytes), x1 = _mm512_loadu_pd(bytes + 64);
  __m512d min0 = x0, min1 = x1, max0 = x0, max1 = x1;
  __m512d sum0, sum1, square0, square1;
  sum0 = sum1 = square0 = square1 = _mm512_setzero_pd();
  const int64_t taken = count / 16 * 16;
  for (int64_t i = 0; i < taken; i += 16, bytes += 128) {
    x0 = _mm512_loadu_pd(bytes), x1 = _mm512_loadu_pd(bytes + 64);
    min0 = _mm512_min_pd(min0, x0), max0 = _mm512_max_pd(max0, x0);
    min1 = _mm512_min_pd(min1, x1), max1 = _mm512_max_pd(max1, x1);
    sum0 = _mm512_fmadd_pd(x0, one, sum0), square0 = _mm512_fmadd_pd(x0, x0, square0);
    sum1 = _mm512_fmadd_pd(x1, one, sum1), square1 = _mm512_fmadd_pd(x1, x1, square1);
  }
  return {_mm512_reduce_min_pd(_mm512_min_pd(min0, min1)),
          _mm512_reduce_max_pd(_mm512_max_pd(max0, max1)),
          _mm512_reduce_add_pd(_mm512_add_pd(sum0, sum1)),
          _mm512_reduce_add_pd(_mm512_add_pd(square0, square1)), taken};
}

AUTODIST_FIGURES_AVX2 inline PieceSums DoublesAvx2(const char* bytes, int64_t count) {
  const auto* elements = reinterpret_cast<const double*>(bytes);
  const __m256d one = _mm256_set1_pd(1);
  __m256d x0 = _mm256_loadu_pd(elements), x1 = _mm256_loadu_pd(elements + 4);
  __m256d min0 = x0, min1 = x1, max0 = x0, max1 = x1;
  __m256d sum0, sum1, square0, square1;
  sum0 = sum1 = square0 = square1 = _mm256_setzero_pd();
  const int64_t taken = count / 8 * 8;
  for (int64_t i = 0; i < taken; i += 8) {
    x0 = _mm256_loadu_pd(elements + i), x1 = _mm256_loadu_pd(elements + i + 4);
    min0 = _mm256_min_pd(min0, x0), max0 = _mm256_max_pd(max0, x0);
    min1 = _mm256_min_pd(min1, x1), max1 = _mm256_max_pd(max1, x1);
    sum0 = _mm256_fmadd_pd(x0, one, sum0), square0 = _mm256_fmadd_pd(x0, x0, square0);
    sum1 = _mm256_fmadd_pd(x1, one, sum1), square1 = _mm256_fmadd_pd(x1, x1, square1);
  }
  double mins[8], maxs[8], sums[8], squares[8];
  _mm256_storeu_pd(mins, min0), _mm256_storeu_pd(mins + 4, min1);
  _mm256_storeu_pd(maxs, max0), _mm256_storeu_pd(maxs + 4, max1);
  _mm256_storeu_pd(sums, sum0), _mm256_storeu_pd(sums + 4, sum1);
  _mm256_storeu_pd(squares, square0), _mm256_storeu_pd(squares + 4, square1);
  return JoinLanes(mins, maxs, 8, sums, squares, 8, taken);
}

}  // namespace autodist::figuring

#endif  // defined(__x86_64__)

#endif  // AUTODIST_CORE_FIGURES_CHUNK_SUMS_H_
