// Kernels of the reduction (reduce.h) in vector instructions of x86-64, for float and half.
//
// Each function reduces the components that fill vectors and returns how many those are.

#ifndef AUTODIST_CORE_REDUCTION_REDUCE_VECTORS_H_
#define AUTODIST_CORE_REDUCTION_REDUCE_VECTORS_H_

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "core/reduction/reduce.h"
#include "core/reduction/reduce_formats.h"

namespace autodist::reducing {

// The 8 components from `i` on, computed in double.
AUTODIST_AVX2 AUTODIST_INLINE void ReduceFloat32Wide(const Reduction& reduction, int64_t i) {
  const auto* const* sources = reinterpret_cast<const float* const*>(reduction.sources);
  const bool is_mean = reduction.aggregation == Aggregation::kMean;
  const __m256 kept = _mm256_loadu_ps(sources[0] + i);
  __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(kept));
  __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(kept, 1));
  // Where the first replica's bits are the result: in a mean where the others have the same, in a
  // sum where they are zero.
  const __m256i neutral = is_mean ? _mm256_castps_si256(kept) : _mm256_setzero_si256();
  __m256i is_kept = _mm256_set1_epi32(-1);
  for (int source = 1; source < reduction.source_count; ++source) {
    const __m256 addend = _mm256_loadu_ps(sources[source] + i);
    is_kept = _mm256_and_si256(is_kept, _mm256_cmpeq_epi32(_mm256_castps_si256(addend), neutral));
    low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(addend)));
    high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(addend, 1)));
  }
  if (is_mean && IsPowerOfTwo(reduction.source_count)) {
    const __m256d factor = _mm256_set1_pd(1.0 / reduction.source_count);
    low = _mm256_mul_pd(low, factor);
    high = _mm256_mul_pd(high, factor);
  } else if (is_mean) {
    const __m256d divisor = _mm256_set1_pd(reduction.source_count);
    low = _mm256_div_pd(low, divisor);
    high = _mm256_div_pd(high, divisor);
  }
  __m256 result =
      _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(Float32::kNan));
  result = _mm256_blendv_ps(result, nan, _mm256_cmp_ps(result, result, _CMP_UNORD_Q));
  result = _mm256_blendv_ps(result, kept, _mm256_castsi256_ps(is_kept));
  _mm256_storeu_ps(static_cast<float*>(reduction.destination) + i, result);
}

// `a` where the bits of `b` are zero, else `sum`.
AUTODIST_AVX2 AUTODIST_INLINE __m256 WithoutZero(__m256 a, __m256 b, __m256 sum) {
  const __m256i is_zero = _mm256_cmpeq_epi32(_mm256_castps_si256(b), _mm256_setzero_si256());
  return _mm256_blendv_ps(sum, a, _mm256_castsi256_ps(is_zero));
}

// Two replicas need no double. Where a + b is finite in float, it is the rounded a + b of double:
// 53 bits are more than twice 24 and one. Halving either is exact or rounds the same exact number.
// For equal replicas it gives their bits back. A sum with 0.0 is the first replica. The other
// kernel takes infinities, NaNs and sums that overflow.
AUTODIST_AVX2 inline int64_t ReduceTwoFloat32Avx2(const Reduction& reduction) {
  const auto* a = static_cast<const float*>(reduction.sources[0]);
  const auto* b = static_cast<const float*>(reduction.sources[1]);
  auto* destination = static_cast<float*>(reduction.destination);
  const bool is_mean = reduction.aggregation == Aggregation::kMean;
  const __m256 factor = _mm256_set1_ps(is_mean ? 0.5f : 1.0f);
  int64_t i = 0;
  for (; i + 16 <= reduction.count; i += 16) {
    const __m256 a0 = _mm256_loadu_ps(a + i), a1 = _mm256_loadu_ps(a + i + 8);
    const __m256 b0 = _mm256_loadu_ps(b + i), b1 = _mm256_loadu_ps(b + i + 8);
    __m256 sum0 = _mm256_add_ps(a0, b0), sum1 = _mm256_add_ps(a1, b1);
    // A number minus itself is a NaN only for infinities and NaNs.
    const __m256 special =
        _mm256_or_ps(_mm256_cmp_ps(_mm256_sub_ps(sum0, sum0), _mm256_setzero_ps(), _CMP_UNORD_Q),
                     _mm256_cmp_ps(_mm256_sub_ps(sum1, sum1), _mm256_setzero_ps(), _CMP_UNORD_Q));
    if (__builtin_expect(_mm256_movemask_ps(special) != 0, 0)) {
      ReduceFloat32Wide(reduction, i);
      ReduceFloat32Wide(reduction, i + 8);
      continue;
    }
    if (!is_mean) {
      sum0 = WithoutZero(a0, b0, sum0);
      sum1 = WithoutZero(a1, b1, sum1);
    }
    _mm256_storeu_ps(destination + i, _mm256_mul_ps(sum0, factor));
    _mm256_storeu_ps(destination + i + 8, _mm256_mul_ps(sum1, factor));
  }
  return i;
}

AUTODIST_AVX2 inline int64_t ReduceFloat32Avx2(const Reduction& reduction) {
  if (reduction.source_count == 2) return ReduceTwoFloat32Avx2(reduction);
  int64_t i = 0;
  for (; i + 8 <= reduction.count; i += 8) ReduceFloat32Wide(reduction, i);
  return i;
}

AUTODIST_AVX2 inline int64_t ReduceFloat16Avx2(const Reduction& reduction) {
  const auto* const* sources = reinterpret_cast<const uint16_t* const*>(reduction.sources);
  auto* destination = static_cast<uint16_t*>(reduction.destination);
  const bool is_mean = reduction.aggregation == Aggregation::kMean;
  const bool multiplies = IsPowerOfTwo(reduction.source_count);
  const __m256 divisor = _mm256_set1_ps(reduction.source_count);
  const __m256 factor = _mm256_set1_ps(1.0f / reduction.source_count);
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(Float32::kNan));
  int64_t i = 0;
  for (; i + 8 <= reduction.count; i += 8) {
    const __m128i kept = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sources[0] + i));
    const __m128i neutral = is_mean ? kept : _mm_setzero_si128();
    __m256 sum = _mm256_cvtph_ps(kept);
    __m128i is_kept = _mm_set1_epi16(-1);
    for (int source = 1; source < reduction.source_count; ++source) {
      const __m128i addend = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sources[source] + i));
      is_kept = _mm_and_si128(is_kept, _mm_cmpeq_epi16(addend, neutral));
      sum = _mm256_add_ps(sum, _mm256_cvtph_ps(addend));
    }
    if (is_mean) sum = multiplies ? _mm256_mul_ps(sum, factor) : _mm256_div_ps(sum, divisor);
    sum = _mm256_blendv_ps(sum, nan, _mm256_cmp_ps(sum, sum, _CMP_UNORD_Q));
    __m128i result = _mm256_cvtps_ph(sum, _MM_FROUND_TO_NEAREST_INT);
    result = _mm_blendv_epi8(result, kept, is_kept);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(destination + i), result);
  }
  return i;
}

}  // namespace autodist::reducing

#endif  // defined(__x86_64__)

#endif  // AUTODIST_CORE_REDUCTION_REDUCE_VECTORS_H_
