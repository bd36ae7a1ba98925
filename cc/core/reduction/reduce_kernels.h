// The kernels of the reduction (reduce.h) as plain loops.

#ifndef AUTODIST_CORE_REDUCTION_REDUCE_KERNELS_H_
#define AUTODIST_CORE_REDUCTION_REDUCE_KERNELS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/reduction/reduce.h"
#include "core/reduction/reduce_formats.h"

namespace autodist::reducing {

template <typename Bits>
AUTODIST_INLINE void Load(const Reduction& reduction, int source, int64_t first, int64_t count,
                          Bits* to) {
  std::memcpy(to, static_cast<const Bits*>(reduction.sources[source]) + first,
              count * sizeof(Bits));
}

// kMean and kSum of a floating-point format.
template <typename Format>
struct FloatKernel {
  using Bits = typename Format::Bits;
  using Wide = typename Format::Wide;

  static AUTODIST_INLINE void Run(const Reduction& reduction) {
    const Format format(reduction);
    Bits* destination = static_cast<Bits*>(reduction.destination);
    for (int64_t first = reduction.first; first < reduction.count; first += kChunk) {
      const int64_t count = std::min(kChunk, reduction.count - first);
      Bits result[kChunk];
      Load(reduction, 0, first, count, result);
      if (reduction.aggregation == Aggregation::kMean) {
        Mean(format, reduction, first, count, result);
      } else {
        Sum(format, reduction, first, count, result);
      }
      std::memcpy(destination + first, result, count * sizeof(Bits));
    }
  }

 private:
  // `result` holds the first replica's chunk on entry.
  static AUTODIST_INLINE void Mean(const Format& format, const Reduction& reduction, int64_t first,
                                   int64_t count, Bits* result) {
    // Which elements differ between replicas: what a count of deviations would look at.
    Bits differs[kChunk] = {};
    Bits any = 0;
    for (int source = 1; source < reduction.source_count; ++source) {
      Bits bits[kChunk];
      Load(reduction, source, first, count, bits);
      for (int64_t i = 0; i < count; ++i) {
        differs[i] |= bits[i] ^ result[i];
        any |= bits[i] ^ result[i];
      }
    }
    if (any == 0) return;
    Wide sum[kChunk];
    Accumulate(format, reduction, first, count, result, sum);
    const Wide divisor = static_cast<Wide>(reduction.source_count);
    // Multiplying by the reciprocal of a power of two is the same, and faster.
    if (IsPowerOfTwo(reduction.source_count)) {
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

  static AUTODIST_INLINE void Sum(const Format& format, const Reduction& reduction, int64_t first,
                                  int64_t count, Bits* result) {
    // Nonzero where a replica after the first holds something other than zero.
    Bits others[kChunk] = {};
    for (int source = 1; source < reduction.source_count; ++source) {
      Bits bits[kChunk];
      Load(reduction, source, first, count, bits);
      for (int64_t i = 0; i < count; ++i) others[i] |= bits[i] ^ format.kZero;
    }
    Wide sum[kChunk];
    Accumulate(format, reduction, first, count, result, sum);
    for (int64_t i = 0; i < count; ++i) {
      const Bits narrow = NarrowOrNan(format, sum[i]);
      result[i] = others[i] != 0 ? narrow : result[i];
    }
  }

  static AUTODIST_INLINE void Accumulate(const Format& format, const Reduction& reduction,
                                         int64_t first, int64_t count, const Bits* first_replica,
                                         Wide* sum) {
    for (int64_t i = 0; i < count; ++i) sum[i] = format.Widen(first_replica[i]);
    for (int source = 1; source < reduction.source_count; ++source) {
      Bits bits[kChunk];
      Load(reduction, source, first, count, bits);
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
  static AUTODIST_INLINE void Run(const Reduction& reduction) {
    Unsigned* destination = static_cast<Unsigned*>(reduction.destination);
    for (int64_t first = reduction.first; first < reduction.count; first += kChunk) {
      const int64_t count = std::min(kChunk, reduction.count - first);
      Unsigned sum[kChunk];
      Load(reduction, 0, first, count, sum);
      for (int source = 1; source < reduction.source_count; ++source) {
        Unsigned addend[kChunk];
        Load(reduction, source, first, count, addend);
        for (int64_t i = 0; i < count; ++i) sum[i] = static_cast<Unsigned>(sum[i] + addend[i]);
      }
      std::memcpy(destination + first, sum, count * sizeof(Unsigned));
    }
  }
};

}  // namespace autodist::reducing

#endif  // AUTODIST_CORE_REDUCTION_REDUCE_KERNELS_H_
