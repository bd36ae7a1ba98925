// The floating-point formats of the reduction (reduce.h), and what its kernels have in common.

#ifndef AUTODIST_CORE_REDUCTION_REDUCE_FORMATS_H_
#define AUTODIST_CORE_REDUCTION_REDUCE_FORMATS_H_

#include <cstdint>
#include <cstring>
#include <limits>

#include "core/reduction/reduce.h"

// Kernels are written once, as plain loops over small arrays that stay in the first-level cache.
// They are compiled several times: the entry function of each level has its own target attribute,
// and everything it calls is inlined into it. None of the loops has a product added to a sum, so
// that no level can fuse one.
//
// The usual types of weights, float and half, also have kernels in vector instructions
// (reduce_vectors.h). These do the same arithmetic. The plain loops do what does not fill a vector.
#define AUTODIST_INLINE inline __attribute__((always_inline))
#define AUTODIST_AVX2 __attribute__((target("avx2,f16c")))
#define AUTODIST_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

namespace autodist::reducing {

constexpr int64_t kChunk = 512;  // elements

// What a kernel works on.
struct Reduction {
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

// A format that is a type of C++, `Float`.
template <typename Float, typename BitsType, BitsType kNanBits, typename WideType>
struct NativeFloat {
  using Bits = BitsType;
  using Wide = WideType;
  static constexpr Bits kNan = kNanBits;
  static constexpr Bits kZero = 0;
  explicit NativeFloat(const Reduction&) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const { return BitCast<Float>(bits); }
  AUTODIST_INLINE Bits Narrow(Wide wide) const { return BitCast<Bits>(static_cast<Float>(wide)); }
};

using Float32 = NativeFloat<float, uint32_t, 0x7fc00000, double>;
using Float64 = NativeFloat<double, uint64_t, 0x7ff8000000000000, long double>;

struct BFloat16 {
  using Bits = uint16_t;
  using Wide = float;
  static constexpr Bits kNan = 0x7fc0;
  static constexpr Bits kZero = 0;
  explicit BFloat16(const Reduction&) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const {
    return BitCast<float>(static_cast<uint32_t>(bits) << 16);
  }
  // To the nearest, ties to even. NaNs are the caller's.
  AUTODIST_INLINE Bits Narrow(Wide wide) const {
    const uint32_t bits = BitCast<uint32_t>(wide);
    return static_cast<Bits>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
};

// Without branches, so that the loops around are vectorized. Integer arithmetic moves the exponent,
// and the floating-point unit handles denormals and rounding.
struct Float16 {
  using Bits = uint16_t;
  using Wide = float;
  static constexpr Bits kNan = 0x7e00;
  static constexpr Bits kZero = 0;
  explicit Float16(const Reduction&) {}
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
  explicit ByteFloat(const Reduction& reduction)
      : codec(*reduction.codec),
        kNan(codec.encode(std::numeric_limits<float>::quiet_NaN())),
        kZero(codec.encode(0.0f)) {}
  AUTODIST_INLINE Wide Widen(Bits bits) const { return codec.decode[bits]; }
  AUTODIST_INLINE Bits Narrow(Wide wide) const { return codec.encode(wide); }
  const ByteFloatCodec codec;
  const Bits kNan;
  const Bits kZero;
};

}  // namespace autodist::reducing

#endif  // AUTODIST_CORE_REDUCTION_REDUCE_FORMATS_H_
