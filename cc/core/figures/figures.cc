#include "core/figures/figures.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/figures/chunk_sums.h"
#include "core/reduction/floating_point.h"
#include "core/reduction/reduce_formats.h"

namespace autodist {
namespace {

using figuring::kPiece;
using figuring::PieceSums;

// What fills a round of any vector instructions.
constexpr int64_t kLeastForVectors = 64;
// Integers that are widened at a time. They stay in the first-level cache.
constexpr int64_t kWidened = 1024;
// Below this, squares of floats lose digits. Then they are multiplied by kFloatScale first, which
// makes none too large.
constexpr double kLeastFloat = 1e-15;
constexpr double kFloatScale = 0x1p100;
// Squares of doubles between these have all their digits.
constexpr double kLeastDouble = 1e-140;
constexpr double kMostSquares = 1e300;

double Largest(double min, double max) { return std::max(std::abs(min), std::abs(max)); }

// Adds elements one by one.
void AddSlowly(double value, Figures* figures) {
  if (std::isnan(value)) {
    ++figures->nans;
  } else if (std::isinf(value)) {
    ++(value > 0 ? figures->positive_infinities : figures->negative_infinities);
  } else {
    figures->min = std::min(figures->min, value);
    figures->max = std::max(figures->max, value);
    figures->sum += value;
  }
}

void AddExtraNorm(double norm, Figures* figures) {
  figures->extra_norm = std::hypot(figures->extra_norm, norm);
}

template <typename Widen>
void AddFloatsSlowly(int64_t count, const Widen& widen, Figures* figures) {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double value = widen(i);
    AddSlowly(value, figures);
    if (std::isfinite(value)) squares += value * value;
  }
  figures->squares += squares;
}

template <typename Widen>
void AddDoublesSlowly(int64_t count, const Widen& widen, Figures* figures) {
  long double squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double value = widen(i);
    AddSlowly(value, figures);
    if (std::isfinite(value)) squares += static_cast<long double>(value) * value;
  }
  AddExtraNorm(static_cast<double>(std::sqrt(squares)), figures);
}

void AddSums(const PieceSums& sums, Figures* figures) {
  figures->min = std::min(figures->min, sums.min);
  figures->max = std::max(figures->max, sums.max);
  figures->sum += sums.sum;
  figures->squares += sums.squares;
}

// The formats that are computed in float.

struct OfFloat32 {
  using Bits = uint32_t;
  static float Widen(Bits bits) { return reducing::BitCast<float>(bits); }
#if defined(__x86_64__)
  using Loader = figuring::LoadFloat32;
#endif
};

struct OfFloat16 {
  using Bits = uint16_t;
  static float Widen(Bits bits) {
    const reducing::Reduction none{};
    return reducing::Float16(none).Widen(bits);
  }
#if defined(__x86_64__)
  using Loader = figuring::LoadFloat16;
#endif
};

struct OfBFloat16 {
  using Bits = uint16_t;
  static float Widen(Bits bits) {
    return reducing::BitCast<float>(static_cast<uint32_t>(bits) << 16);
  }
#if defined(__x86_64__)
  using Loader = figuring::LoadBFloat16;
#endif
};

#if defined(__x86_64__)
template <typename Format, bool kIsScaled>
PieceSums FloatSums(VectorLevel level, const char* bytes, int64_t count, float scale) {
  using Loader = typename Format::Loader;
  return level == VectorLevel::kAvx512
             ? figuring::FloatsAvx512<Loader, kIsScaled>(bytes, count, scale)
             : figuring::FloatsAvx2<Loader, kIsScaled>(bytes, count, scale);
}
#endif

// The elements of a piece that vectors took; 0 if they have to be added in another way.
template <typename Format>
int64_t AddFloatVectors(VectorLevel level, const char* bytes, int64_t count, Figures* figures) {
#if defined(__x86_64__)
  if (level == VectorLevel::kPortable || count < kLeastForVectors) return 0;
  PieceSums sums = FloatSums<Format, false>(level, bytes, count, 1);
  if (!std::isfinite(sums.squares)) return 0;
  const double largest = Largest(sums.min, sums.max);
  if (largest > 0 && largest < kLeastFloat) {
    const double squares = FloatSums<Format, true>(level, bytes, count, kFloatScale).squares;
    sums.squares = squares / kFloatScale / kFloatScale;
  }
  AddSums(sums, figures);
  return sums.count;
#else
  static_cast<void>(level), static_cast<void>(bytes), static_cast<void>(count);
  static_cast<void>(figures);
  return 0;
#endif
}

template <typename Format>
void AddFloats(VectorLevel level, const char* bytes, int64_t count, Figures* figures) {
  using Bits = typename Format::Bits;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    const char* const piece = bytes + begin * static_cast<int64_t>(sizeof(Bits));
    const int64_t taken = AddFloatVectors<Format>(level, piece, size, figures);
    const auto widen = [&](int64_t i) -> double {
      Bits bits;
      std::memcpy(&bits, piece + (taken + i) * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
      return Format::Widen(bits);
    };
    AddFloatsSlowly(size - taken, widen, figures);
  }
}

int64_t AddDoubleVectors(VectorLevel level, const char* bytes, int64_t count, Figures* figures) {
#if defined(__x86_64__)
  if (level == VectorLevel::kPortable || count < kLeastForVectors) return 0;
  const PieceSums sums = level == VectorLevel::kAvx512 ? figuring::DoublesAvx512(bytes, count)
                                                       : figuring::DoublesAvx2(bytes, count);
  const double largest = Largest(sums.min, sums.max);
  // The comparison is false for a NaN.
  if (!(sums.squares < kMostSquares) || (largest > 0 && largest < kLeastDouble)) return 0;
  AddSums(sums, figures);
  return sums.count;
#else
  static_cast<void>(level), static_cast<void>(bytes), static_cast<void>(count);
  static_cast<void>(figures);
  return 0;
#endif
}

void AddDoubles(VectorLevel level, const char* bytes, int64_t count, Figures* figures) {
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    const char* const piece = bytes + begin * static_cast<int64_t>(sizeof(double));
    const int64_t taken = AddDoubleVectors(level, piece, size, figures);
    const auto widen = [&](int64_t i) {
      double value;
      std::memcpy(&value, piece + (taken + i) * static_cast<int64_t>(sizeof value), sizeof value);
      return value;
    };
    AddDoublesSlowly(size - taken, widen, figures);
  }
}

// The compiler makes vector instructions of it, those of the function that it is a part of.
template <typename Integer, typename Float>
inline __attribute__((always_inline)) void WidenTo(const char* integers, int64_t count,
                                                   Float* values) {
  for (int64_t i = 0; i < count; ++i) {
    Integer integer;
    std::memcpy(&integer, integers + i * static_cast<int64_t>(sizeof integer), sizeof integer);
    values[i] = static_cast<Float>(integer);
  }
}

#if defined(__x86_64__)
template <typename Integer, typename Float>
AUTODIST_FIGURES_AVX2 void WidenAvx2(const char* integers, int64_t count, Float* values) {
  WidenTo<Integer>(integers, count, values);
}

template <typename Integer, typename Float>
AUTODIST_FIGURES_AVX512 void WidenAvx512(const char* integers, int64_t count, Float* values) {
  WidenTo<Integer>(integers, count, values);
}
#endif

template <typename Integer, typename Float>
void WidenIntegers(VectorLevel level, const char* integers, int64_t count, Float* values) {
#if defined(__x86_64__)
  if (level == VectorLevel::kAvx512) return WidenAvx512<Integer>(integers, count, values);
  if (level == VectorLevel::kAvx2) return WidenAvx2<Integer>(integers, count, values);
#endif
  static_cast<void>(level);
  WidenTo<Integer>(integers, count, values);
}

// `widen(begin, size, values)` makes floats or doubles of `size` elements from `begin` on.
template <typename Float, typename Widen>
void AddWidened(VectorLevel level, int64_t count, const Widen& widen, Figures* figures) {
  Float values[kWidened];
  for (int64_t begin = 0; begin < count; begin += kWidened) {
    const int64_t size = std::min(kWidened, count - begin);
    widen(begin, size, values);
    const char* const made = reinterpret_cast<const char*>(values);
    if constexpr (std::is_same_v<Float, float>) {
      AddFloats<OfFloat32>(level, made, size, figures);
    } else {
      AddDoubles(level, made, size, figures);
    }
  }
}

// Integers: as floats if these hold them exactly, else as doubles.
template <typename Integer>
void AddIntegers(VectorLevel level, const char* bytes, int64_t count, Figures* figures) {
  using Float = std::conditional_t<sizeof(Integer) <= 2, float, double>;
  const auto widen = [&](int64_t begin, int64_t size, Float* values) {
    WidenIntegers<Integer>(level, bytes + begin * static_cast<int64_t>(sizeof(Integer)), size,
                           values);
  };
  AddWidened<Float>(level, count, widen, figures);
}

void AddByteFloats(VectorLevel level, const char* bytes, int64_t count, const ByteFloatCodec& codec,
                   Figures* figures) {
  const auto widen = [&](int64_t begin, int64_t size, float* values) {
    for (int64_t i = 0; i < size; ++i) {
      values[i] = codec.decode[static_cast<uint8_t>(bytes[begin + i])];
    }
  };
  AddWidened<float>(level, count, widen, figures);
}

VectorLevel FindBestFiguresLevel() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("fma")) return BestVectorLevel();
#endif
  return VectorLevel::kPortable;
}

int64_t BitsOf(double value) { return reducing::BitCast<int64_t>(value); }
double DoubleOf(int64_t bits) { return reducing::BitCast<double>(bits); }

}  // namespace

bool HasFigures(ElementType type) { return type != ElementType::kOpaque; }

VectorLevel BestFiguresLevel() {
  static const VectorLevel level = FindBestFiguresLevel();
  return level;
}

void AddFigures(ElementType type, const void* elements, int64_t count, const ByteFloatCodec* codec,
                Figures* figures) {
  AddFiguresAtLevel(BestFiguresLevel(), type, elements, count, codec, figures);
}

void AddFiguresAtLevel(VectorLevel level, ElementType type, const void* elements, int64_t count,
                       const ByteFloatCodec* codec, Figures* figures) {
  const DefaultFloatingPoint environment;
  const char* const bytes = static_cast<const char*>(elements);
  if (type == ElementType::kComplex64 || type == ElementType::kComplex128) count *= 2;
  figures->count += count;
  switch (type) {
    case ElementType::kFloat16:
      return AddFloats<OfFloat16>(level, bytes, count, figures);
    case ElementType::kBFloat16:
      return AddFloats<OfBFloat16>(level, bytes, count, figures);
    case ElementType::kFloat32:
    case ElementType::kComplex64:
      return AddFloats<OfFloat32>(level, bytes, count, figures);
    case ElementType::kFloat64:
    case ElementType::kComplex128:
      return AddDoubles(level, bytes, count, figures);
    case ElementType::kInt8:
      return AddIntegers<int8_t>(level, bytes, count, figures);
    case ElementType::kInt16:
      return AddIntegers<int16_t>(level, bytes, count, figures);
    case ElementType::kInt32:
      return AddIntegers<int32_t>(level, bytes, count, figures);
    case ElementType::kInt64:
      return AddIntegers<int64_t>(level, bytes, count, figures);
    case ElementType::kUint8:
      return AddIntegers<uint8_t>(level, bytes, count, figures);
    case ElementType::kUint16:
      return AddIntegers<uint16_t>(level, bytes, count, figures);
    case ElementType::kUint32:
      return AddIntegers<uint32_t>(level, bytes, count, figures);
    case ElementType::kUint64:
      return AddIntegers<uint64_t>(level, bytes, count, figures);
    case ElementType::kByteFloat:
      return AddByteFloats(level, bytes, count, *codec, figures);
    case ElementType::kOpaque:
      return;
  }
}

void Join(const Figures& next, Figures* figures) {
  figures->count += next.count;
  figures->nans += next.nans;
  figures->positive_infinities += next.positive_infinities;
  figures->negative_infinities += next.negative_infinities;
  figures->min = std::min(figures->min, next.min);
  figures->max = std::max(figures->max, next.max);
  figures->sum += next.sum;
  figures->squares += next.squares;
  if (next.extra_norm != 0) AddExtraNorm(next.extra_norm, figures);
  figures->deviation = std::max(figures->deviation, next.deviation);
}

Figures::Words ToWords(const Figures& figures) {
  return {figures.count,
          figures.nans,
          figures.positive_infinities,
          figures.negative_infinities,
          BitsOf(figures.min),
          BitsOf(figures.max),
          BitsOf(figures.sum),
          BitsOf(figures.squares),
          BitsOf(figures.extra_norm),
          BitsOf(figures.deviation)};
}

Figures FromWords(const int64_t* words) {
  return {words[0],           words[1],           words[2],           words[3],
          DoubleOf(words[4]), DoubleOf(words[5]), DoubleOf(words[6]), DoubleOf(words[7]),
          DoubleOf(words[8]), DoubleOf(words[9])};
}

}  // namespace autodist
