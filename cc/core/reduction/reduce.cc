#include "core/reduction/reduce.h"

#include <cstring>
#include <type_traits>

#include "core/reduction/floating_point.h"
#include "core/reduction/reduce_formats.h"
#include "core/reduction/reduce_kernels.h"
#include "core/reduction/reduce_vectors.h"

namespace autodist {
namespace {

using reducing::BFloat16;
using reducing::ByteFloat;
using reducing::Float16;
using reducing::Float32;
using reducing::Float64;
using reducing::FloatKernel;
using reducing::IntegerSumKernel;
using reducing::Reduction;

template <typename Kernel>
__attribute__((noinline)) void RunPortable(const Reduction& reduction) {
  Kernel::Run(reduction);
}

#if defined(__x86_64__)
template <typename Kernel>
AUTODIST_AVX2 __attribute__((noinline)) void RunAvx2(const Reduction& reduction) {
  Kernel::Run(reduction);
}

template <typename Kernel>
AUTODIST_AVX512 __attribute__((noinline)) void RunAvx512(const Reduction& reduction) {
  Kernel::Run(reduction);
}
#endif

template <typename Kernel>
int64_t ReduceWholeVectors(VectorLevel level, const Reduction& reduction) {
#if defined(__x86_64__)
  if constexpr (std::is_same_v<Kernel, FloatKernel<Float32>>) {
    if (level >= VectorLevel::kAvx2) return reducing::ReduceFloat32Avx2(reduction);
  }
  if constexpr (std::is_same_v<Kernel, FloatKernel<Float16>>) {
    if (level >= VectorLevel::kAvx2) return reducing::ReduceFloat16Avx2(reduction);
  }
#endif
  static_cast<void>(level);
  return reduction.first;
}

template <typename Kernel>
void RunAt(VectorLevel level, Reduction reduction) {
  const DefaultFloatingPoint environment;
  reduction.first = ReduceWholeVectors<Kernel>(level, reduction);
  if (reduction.first == reduction.count) return;
#if defined(__x86_64__)
  if (level == VectorLevel::kAvx512) return RunAvx512<Kernel>(reduction);
  if (level == VectorLevel::kAvx2) return RunAvx2<Kernel>(reduction);
#endif
  RunPortable<Kernel>(reduction);
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
  Reduction reduction{aggregation, sources, source_count, count, destination, codec};
  switch (type) {
    case ElementType::kFloat16:
      return RunAt<FloatKernel<Float16>>(level, reduction);
    case ElementType::kBFloat16:
      return RunAt<FloatKernel<BFloat16>>(level, reduction);
    case ElementType::kComplex64:
      reduction.count *= 2;
      [[fallthrough]];
    case ElementType::kFloat32:
      return RunAt<FloatKernel<Float32>>(level, reduction);
    case ElementType::kComplex128:
      reduction.count *= 2;
      [[fallthrough]];
    case ElementType::kFloat64:
      return RunAt<FloatKernel<Float64>>(level, reduction);
    case ElementType::kByteFloat:
      return RunAt<FloatKernel<ByteFloat>>(level, reduction);
    case ElementType::kInt8:
    case ElementType::kUint8:
    case ElementType::kOpaque:
      return RunAt<IntegerSumKernel<uint8_t>>(level, reduction);
    case ElementType::kInt16:
    case ElementType::kUint16:
      return RunAt<IntegerSumKernel<uint16_t>>(level, reduction);
    case ElementType::kInt32:
    case ElementType::kUint32:
      return RunAt<IntegerSumKernel<uint32_t>>(level, reduction);
    case ElementType::kInt64:
    case ElementType::kUint64:
      return RunAt<IntegerSumKernel<uint64_t>>(level, reduction);
  }
}

}  // namespace autodist
