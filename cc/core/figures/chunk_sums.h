// The figures of one chunk of floats or doubles, in vector instructions of x86-64.
//
// Each function takes the elements that fill its vectors, and says how many those are: at least the
// first ones, REQUIRES: enough for one round (64). Several accumulators of each kind hide the
// latency of the instructions. The widest vectors do four instructions for 16 floats, two a cycle.

#ifndef AUTODIST_CORE_FIGURES_CHUNK_SUMS_H_
#define AUTODIST_CORE_FIGURES_CHUNK_SUMS_H_

#include <cstdint>

namespace autodist::figuring {

inline constexpr int64_t kChunk = 2048;  // elements

// Of elements of a chunk. Without a meaning where `squares` is not finite.
struct ChunkSums {
  double min;
  double max;
  double sum;
  double squares;
  int64_t count;  // of the elements that were taken
};

}  // namespace autodist::figuring

#if defined(__x86_64__)

#include <immintrin.h>

#define AUTODIST_FIGURES_INLINE inline __attribute__((always_inline))
#define AUTODIST_FIGURES_AVX2 __attribute__((target("avx2,f16c,fma")))
#define AUTODIST_FIGURES_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c,fma")))

namespace autodist::figuring {

// How formats are loaded as floats, 8 or 16 at a time.

struct LoadFloat32 {
  using Bits = uint32_t;
  AUTODIST_FIGURES_AVX2 static AUTODIST_FIGURES_INLINE __m256 Load8(const char* from) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  }
  AUTODIST_FIGURES_AVX512 static AUTODIST_FIGURES_INLINE __m512 Load16(const char* from) {
    return _mm512_loadu_ps(from);
  }
};

struct LoadFloat16 {
  using Bits = uint16_t;
  AUTODIST_FIGURES_AVX2 static AUTODIST_FIGURES_INLINE __m256 Load8(const char* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  AUTODIST_FIGURES_AVX512 static AUTODIST_FIGURES_INLINE __m512 Load16(const char* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
};

struct LoadBFloat16 {
  using Bits = uint16_t;
  AUTODIST_FIGURES_AVX2 static AUTODIST_FIGURES_INLINE __m256 Load8(const char* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  AUTODIST_FIGURES_AVX512 static AUTODIST_FIGURES_INLINE __m512 Load16(const char* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

// The lanes of vectors, added up in double in their order.
template <typename Float>
ChunkSums JoinLanes(const Float* mins, const Float* maxs, int extreme_count, const Float* sums,
                    const Float* squares, int sum_count, int64_t taken) {
  ChunkSums joined{static_cast<double>(mins[0]), static_cast<double>(maxs[0]), 0, 0, taken};
  for (int i = 1; i < extreme_count; ++i) {
    const auto min = static_cast<double>(mins[i]), max = static_cast<double>(maxs[i]);
    joined.min = min < joined.min ? min : joined.min;
    joined.max = max > joined.max ? max : joined.max;
  }
  for (int i = 0; i < sum_count; ++i) {
    joined.sum += static_cast<double>(sums[i]);
    joined.squares += static_cast<double>(squares[i]);
  }
  return joined;
}

// Four vectors of floats, added up in double.
AUTODIST_FIGURES_AVX512 AUTODIST_FIGURES_INLINE double AddLanes(__m512 a, __m512 b, __m512 c,
                                                                __m512 d) {
  const __m512d low = _mm512_add_pd(_mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a)),
                                                  _mm512_cvtps_pd(_mm512_castps512_ps256(b))),
                                    _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(c)),
                                                  _mm512_cvtps_pd(_mm512_castps512_ps256(d))));
  const __m512d high = _mm512_add_pd(_mm512_add_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)),
                                                   _mm512_cvtps_pd(_mm512_extractf32x8_ps(b, 1))),
                                     _mm512_add_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(c, 1)),
                                                   _mm512_cvtps_pd(_mm512_extractf32x8_ps(d, 1))));
  return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
}

// The elements times `scale`, where kIsScaled.
template <typename Format, bool kIsScaled>
AUTODIST_FIGURES_AVX512 inline ChunkSums FloatsAvx512(const char* bytes, int64_t count,
                                                      float scale) {
  constexpr int64_t kStep = 16 * sizeof(typename Format::Bits);
  const __m512 factor = _mm512_set1_ps(scale);
  __m512 x0 = Format::Load16(bytes), x1 = Format::Load16(bytes + kStep);
  __m512 x2 = Format::Load16(bytes + 2 * kStep), x3 = Format::Load16(bytes + 3 * kStep);
  __m512 min0, min1, min2, min3, max0, max1, max2, max3;
  __m512 sum0, sum1, sum2, sum3, square0, square1, square2, square3;
  sum0 = sum1 = sum2 = sum3 = square0 = square1 = square2 = square3 = _mm512_setzero_ps();
  if constexpr (kIsScaled) {
    x0 = _mm512_mul_ps(x0, factor), x1 = _mm512_mul_ps(x1, factor);
    x2 = _mm512_mul_ps(x2, factor), x3 = _mm512_mul_ps(x3, factor);
  }
  min0 = max0 = x0, min1 = max1 = x1, min2 = max2 = x2, min3 = max3 = x3;
  const int64_t taken = count / 64 * 64;
  for (int64_t i = 0; i < taken; i += 64, bytes += 4 * kStep) {
    x0 = Format::Load16(bytes), x1 = Format::Load16(bytes + kStep);
    x2 = Format::Load16(bytes + 2 * kStep), x3 = Format::Load16(bytes + 3 * kStep);
    if constexpr (kIsScaled) {
      x0 = _mm512_mul_ps(x0, factor), x1 = _mm512_mul_ps(x1, factor);
      x2 = _mm512_mul_ps(x2, factor), x3 = _mm512_mul_ps(x3, factor);
    }
    min0 = _mm512_min_ps(min0, x0), max0 = _mm512_max_ps(max0, x0);
    min1 = _mm512_min_ps(min1, x1), max1 = _mm512_max_ps(max1, x1);
    min2 = _mm512_min_ps(min2, x2), max2 = _mm512_max_ps(max2, x2);
    min3 = _mm512_min_ps(min3, x3), max3 = _mm512_max_ps(max3, x3);
    sum0 = _mm512_add_ps(sum0, x0), square0 = _mm512_fmadd_ps(x0, x0, square0);
    sum1 = _mm512_add_ps(sum1, x1), square1 = _mm512_fmadd_ps(x1, x1, square1);
    sum2 = _mm512_add_ps(sum2, x2), square2 = _mm512_fmadd_ps(x2, x2, square2);
    sum3 = _mm512_add_ps(sum3, x3), square3 = _mm512_fmadd_ps(x3, x3, square3);
  }
  const __m512 min = _mm512_min_ps(_mm512_min_ps(min0, min1), _mm512_min_ps(min2, min3));
  const __m512 max = _mm512_max_ps(_mm512_max_ps(max0, max1), _mm512_max_ps(max2, max3));
  return {_mm512_reduce_min_ps(min), _mm512_reduce_max_ps(max), AddLanes(sum0, sum1, sum2, sum3),
          AddLanes(square0, square1, square2, square3), taken};
}

template <typename Format, bool kIsScaled>
AUTODIST_FIGURES_AVX2 inline ChunkSums FloatsAvx2(const char* bytes, int64_t count, float scale) {
  constexpr int64_t kStep = 8 * sizeof(typename Format::Bits);
  const __m256 factor = _mm256_set1_ps(scale);
  __m256 x0 = Format::Load8(bytes), x1 = Format::Load8(bytes + kStep);
  if constexpr (kIsScaled) x0 = _mm256_mul_ps(x0, factor), x1 = _mm256_mul_ps(x1, factor);
  __m256 min0 = x0, min1 = x1, max0 = x0, max1 = x1;
  __m256 sum0, sum1, sum2, sum3, square0, square1, square2, square3;
  sum0 = sum1 = sum2 = sum3 = square0 = square1 = square2 = square3 = _mm256_setzero_ps();
  const int64_t taken = count / 32 * 32;
  for (int64_t i = 0; i < taken; i += 32, bytes += 4 * kStep) {
    x0 = Format::Load8(bytes), x1 = Format::Load8(bytes + kStep);
    __m256 x2 = Format::Load8(bytes + 2 * kStep), x3 = Format::Load8(bytes + 3 * kStep);
    if constexpr (kIsScaled) {
      x0 = _mm256_mul_ps(x0, factor), x1 = _mm256_mul_ps(x1, factor);
      x2 = _mm256_mul_ps(x2, factor), x3 = _mm256_mul_ps(x3, factor);
    }
    min0 = _mm256_min_ps(min0, x0), max0 = _mm256_max_ps(max0, x0);
    min1 = _mm256_min_ps(min1, x1), max1 = _mm256_max_ps(max1, x1);
    min0 = _mm256_min_ps(min0, x2), max0 = _mm256_max_ps(max0, x2);
    min1 = _mm256_min_ps(min1, x3), max1 = _mm256_max_ps(max1, x3);
    sum0 = _mm256_add_ps(sum0, x0), square0 = _mm256_fmadd_ps(x0, x0, square0);
    sum1 = _mm256_add_ps(sum1, x1), square1 = _mm256_fmadd_ps(x1, x1, square1);
    sum2 = _mm256_add_ps(sum2, x2), square2 = _mm256_fmadd_ps(x2, x2, square2);
    sum3 = _mm256_add_ps(sum3, x3), square3 = _mm256_fmadd_ps(x3, x3, square3);
  }
  float mins[16], maxs[16], sums[32], squares[32];
  _mm256_storeu_ps(mins, min0), _mm256_storeu_ps(mins + 8, min1);
  _mm256_storeu_ps(maxs, max0), _mm256_storeu_ps(maxs + 8, max1);
  _mm256_storeu_ps(sums, sum0), _mm256_storeu_ps(sums + 8, sum1);
  _mm256_storeu_ps(sums + 16, sum2), _mm256_storeu_ps(sums + 24, sum3);
  _mm256_storeu_ps(squares, square0), _mm256_storeu_ps(squares + 8, square1);
  _mm256_storeu_ps(squares + 16, square2), _mm256_storeu_ps(squares + 24, square3);
  return JoinLanes(mins, maxs, 16, sums, squares, 32, taken);
}

AUTODIST_FIGURES_AVX512 inline ChunkSums DoublesAvx512(const char* bytes, int64_t count) {
  __m512d x0 = _mm512_loadu_pd(bytes), x1 = _mm512_loadu_pd(bytes + 64);
  __m512d min0 = x0, min1 = x1, max0 = x0, max1 = x1;
  __m512d sum0, sum1, square0, square1;
  sum0 = sum1 = square0 = square1 = _mm512_setzero_pd();
  const int64_t taken = count / 16 * 16;
  for (int64_t i = 0; i < taken; i += 16, bytes += 128) {
    x0 = _mm512_loadu_pd(bytes), x1 = _mm512_loadu_pd(bytes + 64);
    min0 = _mm512_min_pd(min0, x0), max0 = _mm512_max_pd(max0, x0);
    min1 = _mm512_min_pd(min1, x1), max1 = _mm512_max_pd(max1, x1);
    sum0 = _mm512_add_pd(sum0, x0), square0 = _mm512_fmadd_pd(x0, x0, square0);
    sum1 = _mm512_add_pd(sum1, x1), square1 = _mm512_fmadd_pd(x1, x1, square1);
  }
  return {_mm512_reduce_min_pd(_mm512_min_pd(min0, min1)),
          _mm512_reduce_max_pd(_mm512_max_pd(max0, max1)),
          _mm512_reduce_add_pd(_mm512_add_pd(sum0, sum1)),
          _mm512_reduce_add_pd(_mm512_add_pd(square0, square1)), taken};
}

AUTODIST_FIGURES_AVX2 inline ChunkSums DoublesAvx2(const char* bytes, int64_t count) {
  const auto* elements = reinterpret_cast<const double*>(bytes);
  __m256d x0 = _mm256_loadu_pd(elements), x1 = _mm256_loadu_pd(elements + 4);
  __m256d min0 = x0, min1 = x1, max0 = x0, max1 = x1;
  __m256d sum0, sum1, square0, square1;
  sum0 = sum1 = square0 = square1 = _mm256_setzero_pd();
  const int64_t taken = count / 8 * 8;
  for (int64_t i = 0; i < taken; i += 8) {
    x0 = _mm256_loadu_pd(elements + i), x1 = _mm256_loadu_pd(elements + i + 4);
    min0 = _mm256_min_pd(min0, x0), max0 = _mm256_max_pd(max0, x0);
    min1 = _mm256_min_pd(min1, x1), max1 = _mm256_max_pd(max1, x1);
    sum0 = _mm256_add_pd(sum0, x0), square0 = _mm256_fmadd_pd(x0, x0, square0);
    sum1 = _mm256_add_pd(sum1, x1), square1 = _mm256_fmadd_pd(x1, x1, square1);
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
