#include "core/reduce.h"

#include <algorithm>
#include <cfenv>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Kernels are written once, as plain loops over small arrays that stay in the first-level cache,
// and compiled several times: each level's entry function has its own target attribute and
// everything it calls is inlined into it. None of the loops has a product added to a sum, so that
// no level can fuse one.
//
// float and half, the usual types of weights, also have kernels in vector instructions ("Whole
// vectors" below), which do the same arithmetic and leave to the plain loops what does not fill a
// vector.
#define AUTODIST_INLINE inline __attribute__((always_inline))
#define AUTODIST_AVX2 __attribute__((target("avx2,f16c")))
#define AUTODIST_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

namespace autodist {
namespace {

constexpr int64_t kChunk = 512;  // elements

// What a kernel works on.
struct Job {
  Aggregation aggregation;
  const void* const* sources;
  int source_count;
  int64_t count;  // in components: a complex element has two
  void* destination;
  const ByteFloatCodec* codec;
  int64_t first = 0;  // the component to begin with
};

AUTODIST_INLINE bool IsPowerOfTwo(int value) { return (value & (value - 1)) == 0; }

template <typename To, typename From>
AUTODIST_INLINE To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// Formats. `Bits` is how a component is stored, `Wide` what it is computed in.

struct Float32 {
  using Bits = uint32_t;
  using Wide = double;
  static constexpr Bits kNan = 0x7fc00000;
  static constexpr Bits kZero = 0;
  explicit Float32(const Job&) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const { return BitCast<float>(bits); }
  AUTODIST_INLINE Bits Narrow(Wide wide) const { return BitCast<Bits>(static_cast<float>(wide)); }
};

struct Float64 {
  using Bits = uint64_t;
  using Wide = long double;
  static constexpr Bits kNan = 0x7ff8000000000000;
  static constexpr Bits kZero = 0;
  explicit Float64(const Job&) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const { return BitCast<double>(bits); }
  AUTODIST_INLINE Bits Narrow(Wide wide) const { return BitCast<Bits>(static_cast<double>(wide)); }
};

struct BFloat16 {
  using Bits = uint16_t;
  using Wide = float;
  static constexpr Bits kNan = 0x7fc0;
  static constexpr Bits kZero = 0;
  explicit BFloat16(const Job&) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const {
    return BitCast<float>(static_cast<uint32_t>(bits) << 16);
  }
  // To the nearest, ties to even. NaNs are the caller's.
  AUTODIST_INLINE Bits Narrow(Wide wide) const {
    const uint32_t bits = BitCast<uint32_t>(wide);
    return static_cast<Bits>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
};

// Without branches, so that the loops around are vectorized: the exponent is moved by integer
// arithmetic, and denormals and rounding are left to the floating-point unit.
struct Float16 {
  using Bits = uint16_t;
  using Wide = float;
  static constexpr Bits kNan = 0x7e00;
  static constexpr Bits kZero = 0;
  explicit Float16(const Job&) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const {
    const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
    // The exponent's bias is 15 in a half and 127 in a float. All ones stay all ones.
    const uint32_t normal = magnitude + (static_cast<uint32_t>(127 - 15) << 23);
    const uint32_t special = magnitude | 0x7f800000;
    // A denormal is its 10 bits times 2^-24, exactly.
    const uint32_t denormal = BitCast<uint32_t>(static_cast<float>(magnitude >> 13) * 0x1p-24f);
    uint32_t result = magnitude >= (31u << 23) ? special : normal;
    result = magnitude < (1u << 23) ? denormal : result;
    return BitCast<float>(result | static_cast<uint32_t>(bits & 0x8000) << 16);
  }
  // To the nearest, ties to even. NaNs are the caller's.
  AUTODIST_INLINE Bits Narrow(Wide wide) const {
    const uint32_t bits = BitCast<uint32_t>(wide);
    const uint32_t magnitude = bits & 0x7fffffff;
    // Halves of 2^-14 and above: rounding carries into the exponent as it should.
    const uint32_t moved = magnitude - (static_cast<uint32_t>(127 - 15) << 23);
    const uint32_t normal = (moved + 0xfff + ((moved >> 13) & 1)) >> 13;
    // Below: adding 0.5 rounds to a multiple of 2^-24, the unit of denormal halves.
    const uint32_t denormal =
        BitCast<uint32_t>(BitCast<float>(magnitude) + 0.5f) - BitCast<uint32_t>(0.5f);
    uint32_t result = magnitude < ((127u - 14) << 23) ? denormal : normal;
    result = magnitude >= BitCast<uint32_t>(65520.0f) ? 0x7c00u : result;
    return static_cast<Bits>(result | (bits >> 16 & 0x8000));
  }
};

struct ByteFloat {
  using Bits = uint8_t;
  using Wide = float;
  explicit ByteFloat(const Job& job)
      : codec(*job.codec),
        kNan(codec.encode(std::numeric_limits<float>::quiet_NaN())),
        kZero(codec.encode(0.0f)) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const { return codec.decode[bits]; }
  AUTODIST_INLINE Bits Narrow(Wide wide) const { return codec.encode(wide); }
  const ByteFloatCodec codec;
  const Bits kNan;
  const Bits kZero;
};

template <typename Bits>
AUTODIST_INLINE void Load(const Job& job, int source, int64_t first, int64_t count, Bits* to) {
  std::memcpy(to, static_cast<const Bits*>(job.sources[source]) + first, count * sizeof(Bits));
}

// kMean and kSum of a floating-point format.
template <typename Format>
struct FloatKernel {
  using Bits = typename Format::Bits;
  using Wide = typename Format::Wide;

  static AUTODIST_INLINE void Run(const Job& job) {
    const Format format(job);
    Bits* destination = static_cast<Bits*>(job.destination);
    for (int64_t first = job.first; first < job.count; first += kChunk) {
      const int64_t count = std::min(kChunk, job.count - first);
      Bits result[kChunk];
      Load(job, 0, first, count, result);
      if (job.aggregation == Aggregation::kMean) {
        Mean(format, job, first, count, result);
      } else {
        Sum(format, job, first, count, result);
      }
      std::memcpy(destination + first, result, count * sizeof(Bits));
    }
  }

 private:
  // `result` holds the first replica's chunk on entry.
  static AUTODIST_INLINE void Mean(const Format& format, const Job& job, int64_t first,
                                   int64_t count, Bits* result) {
    // Which elements differ between replicas: what a count of deviations would look at.
    Bits differs[kChunk] = {};
    Bits any = 0;
    for (int source = 1; source < job.source_count; ++source) {
      Bits bits[kChunk];
      Load(job, source, first, count, bits);
      for (int64_t i = 0; i < count; ++i) {
        differs[i] |= bits[i] ^ result[i];
        any |= bits[i] ^ result[i];
      }
    }
    if (any == 0) return;
    Wide sum[kChunk];
    Accumulate(format, job, first, count, result, sum);
    const Wide divisor = static_cast<Wide>(job.source_count);
    // Multiplying by the reciprocal of a power of two is the same, and faster.
    if (IsPowerOfTwo(job.source_count)) {
      const Wide factor = 1 / divisor;
      for (int64_t i = 0; i < count; ++i) sum[i] *= factor;
    } else {
      for (int64_t i = 0; i < count; ++i) sum[i] /= divisor;
    }
    for (int64_t i = 0; i < count; ++i) {
      const Bits mean = NarrowOrNan(format, sum[i]);
      result[i] = differs[i] != 0 ? mean : result[i];
    }
  }

  static AUTODIST_INLINE void Sum(const Format& format, const Job& job, int64_t first,
                                  int64_t count, Bits* result) {
    // Nonzero where a replica after the first holds something other than zero.
    Bits others[kChunk] = {};
    for (int source = 1; source < job.source_count; ++source) {
      Bits bits[kChunk];
      Load(job, source, first, count, bits);
      for (int64_t i = 0; i < count; ++i) others[i] |= bits[i] ^ format.kZero;
    }
    Wide sum[kChunk];
    Accumulate(format, job, first, count, result, sum);
    for (int64_t i = 0; i < count; ++i) {
      const Bits narrow = NarrowOrNan(format, sum[i]);
      result[i] = others[i] != 0 ? narrow : result[i];
    }
  }

  static AUTODIST_INLINE void Accumulate(const Format& format, const Job& job, int64_t first,
                                         int64_t count, const Bits* first_replica, Wide* sum) {
    for (int64_t i = 0; i < count; ++i) sum[i] = format.Widen(first_replica[i]);
    for (int source = 1; source < job.source_count; ++source) {
      Bits bits[kChunk];
      Load(job, source, first, count, bits);
      for (int64_t i = 0; i < count; ++i) sum[i] += format.Widen(bits[i]);
    }
  }

  static AUTODIST_INLINE Bits NarrowOrNan(const Format& format, Wide wide) {
    const Bits narrow = format.Narrow(wide);
    return wide != wide ? format.kNan : narrow;
  }
};

// kSum of integers, in unsigned arithmetic, which wraps.
template <typename Unsigned>
struct IntegerSumKernel {
  static AUTODIST_INLINE void Run(const Job& job) {
    Unsigned* destination = static_cast<Unsigned*>(job.destination);
    for (int64_t first = job.first; first < job.count; first += kChunk) {
      const int64_t count = std::min(kChunk, job.count - first);
      Unsigned sum[kChunk];
      Load(job, 0, first, count, sum);
      for (int source = 1; source < job.source_count; ++source) {
        Unsigned addend[kChunk];
        Load(job, source, first, count, addend);
        for (int64_t i = 0; i < count; ++i) sum[i] = static_cast<Unsigned>(sum[i] + addend[i]);
      }
      std::memcpy(destination + first, sum, count * sizeof(Unsigned));
    }
  }
};

template <typename Kernel>
__attribute__((noinline)) void RunPortable(const Job& job) {
  Kernel::Run(job);
}

#if defined(__x86_64__)
template <typename Kernel>
AUTODIST_AVX2 __attribute__((noinline)) void RunAvx2(const Job& job) {
  Kernel::Run(job);
}

template <typename Kernel>
AUTODIST_AVX512 __attribute__((noinline)) void RunAvx512(const Job& job) {
  Kernel::Run(job);
}
#endif

#if defined(__x86_64__)
// Whole vectors. Each function reduces the components that fill vectors and returns how many those
// are.

// The 8 components from `i` on, computed in double.
AUTODIST_AVX2 AUTODIST_INLINE void ReduceFloat32Wide(const Job& job, int64_t i) {
  const auto* const* sources = reinterpret_cast<const float* const*>(job.sources);
  const bool is_mean = job.aggregation == Aggregation::kMean;
  const __m256 kept = _mm256_loadu_ps(sources[0] + i);
  __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(kept));
  __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(kept, 1));
  // Where the first replica's bits are the result: in a mean where the others have the same, in a
  // sum where they are zero.
  const __m256i neutral = is_mean ? _mm256_castps_si256(kept) : _mm256_setzero_si256();
  __m256i is_kept = _mm256_set1_epi32(-1);
  for (int source = 1; source < job.source_count; ++source) {
    const __m256 addend = _mm256_loadu_ps(sources[source] + i);
    is_kept = _mm256_and_si256(is_kept, _mm256_cmpeq_epi32(_mm256_castps_si256(addend), neutral));
    low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(addend)));
    high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(addend, 1)));
  }
  if (is_mean && IsPowerOfTwo(job.source_count)) {
    const __m256d factor = _mm256_set1_pd(1.0 / job.source_count);
    low = _mm256_mul_pd(low, factor);
    high = _mm256_mul_pd(high, factor);
  } else if (is_mean) {
    const __m256d divisor = _mm256_set1_pd(job.source_count);
    low = _mm256_div_pd(low, divisor);
    high = _mm256_div_pd(high, divisor);
  }
  __m256 result =
      _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(Float32::kNan));
  result = _mm256_blendv_ps(result, nan, _mm256_cmp_ps(result, result, _CMP_UNORD_Q));
  result = _mm256_blendv_ps(result, kept, _mm256_castsi256_ps(is_kept));
  _mm256_storeu_ps(static_cast<float*>(job.destination) + i, result);
}

// `a` where the bits of `b` are zero, else `sum`.
AUTODIST_AVX2 AUTODIST_INLINE __m256 WithoutZero(__m256 a, __m256 b, __m256 sum) {
  const __m256i is_zero = _mm256_cmpeq_epi32(_mm256_castps_si256(b), _mm256_setzero_si256());
  return _mm256_blendv_ps(sum, a, _mm256_castsi256_ps(is_zero));
}

// Two replicas need no double: where a + b is finite in float, it is what a + b in double rounds to
// (53 bits are more than twice 24 and one), halving either is exact or rounds the same exact
// number, and for equal replicas gives their bits back. A sum with 0.0 is the first replica. For
// infinities, NaNs and sums that overflow see the other kernel.
AUTODIST_AVX2 int64_t ReduceTwoFloat32Avx2(const Job& job) {
  const auto* a = static_cast<const float*>(job.sources[0]);
  const auto* b = static_cast<const float*>(job.sources[1]);
  auto* destination = static_cast<float*>(job.destination);
  const bool is_mean = job.aggregation == Aggregation::kMean;
  const __m256 factor = _mm256_set1_ps(is_mean ? 0.5f : 1.0f);
  int64_t i = 0;
  for (; i + 16 <= job.count; i += 16) {
    const __m256 a0 = _mm256_loadu_ps(a + i), a1 = _mm256_loadu_ps(a + i + 8);
    const __m256 b0 = _mm256_loadu_ps(b + i), b1 = _mm256_loadu_ps(b + i + 8);
    __m256 sum0 = _mm256_add_ps(a0, b0), sum1 = _mm256_add_ps(a1, b1);
    // A number minus itself is a NaN only for infinities and NaNs.
    const __m256 special =
        _mm256_or_ps(_mm256_cmp_ps(_mm256_sub_ps(sum0, sum0), _mm256_setzero_ps(), _CMP_UNORD_Q),
                     _mm256_cmp_ps(_mm256_sub_ps(sum1, sum1), _mm256_setzero_ps(), _CMP_UNORD_Q));
    if (__builtin_expect(_mm256_movemask_ps(special) != 0, 0)) {
      ReduceFloat32Wide(job, i);
      ReduceFloat32Wide(job, i + 8);
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

AUTODIST_AVX2 int64_t ReduceFloat32Avx2(const Job& job) {
  if (job.source_count == 2) return ReduceTwoFloat32Avx2(job);
  int64_t i = 0;
  for (; i + 8 <= job.count; i += 8) ReduceFloat32Wide(job, i);
  return i;
}

AUTODIST_AVX2 int64_t ReduceFloat16Avx2(const Job& job) {
  const auto* const* sources = reinterpret_cast<const uint16_t* const*>(job.sources);
  auto* destination = static_cast<uint16_t*>(job.destination);
  const bool is_mean = job.aggregation == Aggregation::kMean;
  const bool multiplies = IsPowerOfTwo(job.source_count);
  const __m256 divisor = _mm256_set1_ps(job.source_count);
  const __m256 factor = _mm256_set1_ps(1.0f / job.source_count);
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(Float32::kNan));
  int64_t i = 0;
  for (; i + 8 <= job.count; i += 8) {
    const __m128i kept = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sources[0] + i));
    const __m128i neutral = is_mean ? kept : _mm_setzero_si128();
    __m256 sum = _mm256_cvtph_ps(kept);
    __m128i is_kept = _mm_set1_epi16(-1);
    for (int source = 1; source < job.source_count; ++source) {
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
#endif

template <typename Kernel>
int64_t ReduceWholeVectors(VectorLevel level, const Job& job) {
#if defined(__x86_64__)
  if constexpr (std::is_same_v<Kernel, FloatKernel<Float32>>) {
    if (level >= VectorLevel::kAvx2) return ReduceFloat32Avx2(job);
  }
  if constexpr (std::is_same_v<Kernel, FloatKernel<Float16>>) {
    if (level >= VectorLevel::kAvx2) return ReduceFloat16Avx2(job);
  }
#endif
  static_cast<void>(level);
  return job.first;
}

// The floating-point environment of the language's default while it lives: rounding to nearest and
// denormals kept. TensorFlow's threads flush denormals to zero.
#if defined(__x86_64__)
// The two control words by hand: fesetenv takes as long as the reduction of a short run.
class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() : vector_word_(_mm_getcsr()) {
    asm volatile("fnstcw %0" : "=m"(x87_word_));
    _mm_setcsr(kVectorWord);
    if (x87_word_ != kX87Word) asm volatile("fldcw %0" : : "m"(kX87Word));
  }
  ~DefaultFloatingPoint() {
    _mm_setcsr(vector_word_);
    if (x87_word_ != kX87Word) asm volatile("fldcw %0" : : "m"(x87_word_));
  }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

 private:
  // Exceptions masked, to the nearest; the x87 unit in full precision.
  static constexpr unsigned int kVectorWord = 0x1f80;
  static constexpr uint16_t kX87Word = 0x037f;

  const unsigned int vector_word_;
  uint16_t x87_word_;
};
#else
class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatingPoint() { std::fesetenv(&saved_); }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

 private:
  std::fenv_t saved_;
};
#endif

template <typename Kernel>
void Run(VectorLevel level, Job job) {
  const DefaultFloatingPoint environment;
  job.first = ReduceWholeVectors<Kernel>(level, job);
  if (job.first == job.count) return;
#if defined(__x86_64__)
  if (level == VectorLevel::kAvx512) return RunAvx512<Kernel>(job);
  if (level == VectorLevel::kAvx2) return RunAvx2<Kernel>(job);
#endif
  RunPortable<Kernel>(job);
}

bool IsFloat(ElementType type) {
  switch (type) {
    case ElementType::kFloat16:
    case ElementType::kBFloat16:
    case ElementType::kFloat32:
    case ElementType::kFloat64:
    case ElementType::kComplex64:
    case ElementType::kComplex128:
    case ElementType::kByteFloat:
      return true;
    default:
      return false;
  }
}

VectorLevel FindBestVectorLevel() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return VectorLevel::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
    return VectorLevel::kAvx2;
  }
#endif
  return VectorLevel::kPortable;
}

}  // namespace

int ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kInt8:
    case ElementType::kUint8:
    case ElementType::kByteFloat:
    case ElementType::kOpaque:
      return 1;
    case ElementType::kFloat16:
    case ElementType::kBFloat16:
    case ElementType::kInt16:
    case ElementType::kUint16:
      return 2;
    case ElementType::kFloat32:
    case ElementType::kInt32:
    case ElementType::kUint32:
      return 4;
    case ElementType::kFloat64:
    case ElementType::kComplex64:
    case ElementType::kInt64:
    case ElementType::kUint64:
      return 8;
    case ElementType::kComplex128:
      return 16;
  }
  __builtin_unreachable();
}

bool CanReduce(Aggregation aggregation, ElementType type) {
  return aggregation != Aggregation::kSum || type != ElementType::kOpaque;
}

VectorLevel BestVectorLevel() {
  static const VectorLevel level = FindBestVectorLevel();
  return level;
}

void Reduce(Aggregation aggregation, ElementType type, const void* const* sources, int source_count,
            int64_t count, void* destination, const ByteFloatCodec* codec) {
  ReduceAtLevel(BestVectorLevel(), aggregation, type, sources, source_count, count, destination,
                codec);
}

void ReduceAtLevel(VectorLevel level, Aggregation aggregation, ElementType type,
                   const void* const* sources, int source_count, int64_t count, void* destination,
                   const ByteFloatCodec* codec) {
  if (count == 0) return;
  const bool takes_first = source_count == 1 || aggregation == Aggregation::kOnlyFirstReplica ||
                           (aggregation == Aggregation::kMean && !IsFloat(type));
  if (takes_first) {
    if (destination != sources[0]) {
      std::memcpy(destination, sources[0], static_cast<size_t>(count) * ElementBytes(type));
    }
    return;
  }
  Job job{aggregation, sources, source_count, count, destination, codec};
  switch (type) {
    case ElementType::kFloat16:
      return Run<FloatKernel<Float16>>(level, job);
    case ElementType::kBFloat16:
      return Run<FloatKernel<BFloat16>>(level, job);
    case ElementType::kComplex64:
      job.count *= 2;
      [[fallthrough]];
    case ElementType::kFloat32:
      return Run<FloatKernel<Float32>>(level, job);
    case ElementType::kComplex128:
      job.count *= 2;
      [[fallthrough]];
    case ElementType::kFloat64:
      return Run<FloatKernel<Float64>>(level, job);
    case ElementType::kByteFloat:
      return Run<FloatKernel<ByteFloat>>(level, job);
    case ElementType::kInt8:
    case ElementType::kUint8:
    case ElementType::kOpaque:
      return Run<IntegerSumKernel<uint8_t>>(level, job);
    case ElementType::kInt16:
    case ElementType::kUint16:
      return Run<IntegerSumKernel<uint16_t>>(level, job);
    case ElementType::kInt32:
    case ElementType::kUint32:
      return Run<IntegerSumKernel<uint32_t>>(level, job);
    case ElementType::kInt64:
    case ElementType::kUint64:
      return Run<IntegerSumKernel<uint64_t>>(level, job);
  }
}

}  // namespace autodist
