#include "core/figures/deviation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/reduction/floating_point.h"
#include "core/reduction/reduce_formats.h"

namespace autodist {
namespace {

using reducing::BFloat16;
using reducing::ByteFloat;
using reducing::Float16;
using reducing::Float32;
using reducing::Float64;
using reducing::Reduction;

// Bytes that are compared at a time, of each replica.
constexpr int64_t kCompared = 4096;

template <typename Format>
double OfElement(const Format& format, const Reduction& replicas, int64_t element) {
  using Bits = typename Format::Bits;
  const auto bits_of = [&](int source) {
    Bits bits;
    std::memcpy(&bits, static_cast<const Bits*>(replicas.sources[source]) + element, sizeof bits);
    return bits;
  };
  const Bits first = bits_of(0);
  auto low = static_cast<double>(format.Widen(first)), high = low;
  bool differs = false, is_nan = std::isnan(low);
  for (int source = 1; source < replicas.source_count; ++source) {
    const Bits bits = bits_of(source);
    const auto value = static_cast<double>(format.Widen(bits));
    differs = differs || bits != first;
    is_nan = is_nan || std::isnan(value);
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (!differs) return 0;
  if (is_nan) return std::numeric_limits<double>::infinity();
  return low == high ? 0 : high - low;
}

template <typename Format>
double Largest(const Reduction& replicas) {
  using Bits = typename Format::Bits;
  const Format format(replicas);
  constexpr int64_t kElements = kCompared / sizeof(Bits);
  double largest = 0;
  for (int64_t begin = 0; begin < replicas.count; begin += kElements) {
    const int64_t end = std::min(begin + kElements, replicas.count);
    bool differs = false;
    for (int source = 1; source < replicas.source_count; ++source) {
      differs = differs || std::memcmp(static_cast<const Bits*>(replicas.sources[0]) + begin,
                                       static_cast<const Bits*>(replicas.sources[source]) + begin,
                                       static_cast<size_t>(end - begin) * sizeof(Bits)) != 0;
    }
    for (int64_t i = begin; differs && i < end; ++i) {
      largest = std::max(largest, OfElement(format, replicas, i));
    }
  }
  return largest;
}

}  // namespace

double LargestDeviation(ElementType type, const void* const* sources, int source_count,
                        int64_t count, const ByteFloatCodec* codec) {
  const DefaultFloatingPoint environment;
  Reduction replicas{Aggregation::kMean, sources, source_count, count, nullptr, codec};
  switch (type) {
    case ElementType::kFloat16:
      return Largest<Float16>(replicas);
    case ElementType::kBFloat16:
      return Largest<BFloat16>(replicas);
    case ElementType::kComplex64:
      replicas.count *= 2;
      [[fallthrough]];
    case ElementType::kFloat32:
      return Largest<Float32>(replicas);
    case ElementType::kComplex128:
      replicas.count *= 2;
      [[fallthrough]];
    case ElementType::kFloat64:
      return Largest<Float64>(replicas);
    case ElementType::kByteFloat:
      return Largest<ByteFloat>(replicas);
    default:
      return 0;
  }
}

}  // namespace autodist
