// Figures of elements: how many are not finite, minimum, maximum, sum and norm.
//
// A save computes them while a block is in the first-level cache (docs/design/evidence.md).
// Elements are taken in chunks of 2048. In a chunk of floats the squares are added in float, 32 of
// them to a lane; then lanes and chunks are added in double. So a norm is off by some 1e-7 of
// itself, and by at most 2e-6. Counts, minimum and maximum are exact.
//
// A chunk whose squares are not finite holds a NaN, an infinity or a number whose square is too
// large. It is read once more, element by element, in double. So counting costs nothing where there
// is nothing to count.
//
// Figures depend on the bytes, on where they are cut, and on the vector instructions of the
// processor; never on the thread that computed them. Join() is called in the order of the file.

#ifndef AUTODIST_CORE_FIGURES_FIGURES_H_
#define AUTODIST_CORE_FIGURES_FIGURES_H_

#include <array>
#include <cstdint>
#include <limits>

#include "core/reduction/reduce.h"

namespace autodist {

// All but `count` and those of what is not finite are of the finite elements. A complex element
// counts as two, its components.
struct Figures {
  int64_t count = 0;
  int64_t nans = 0;
  int64_t positive_infinities = 0;
  int64_t negative_infinities = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;
  // The norm is hypot(sqrt(squares), extra_norm). The latter is of pieces whose squares are too
  // large or too small for a double.
  double squares = 0;
  double extra_norm = 0;
  // The largest difference between replicas; kNotMeasured where there are no replicas to compare.
  double deviation = kNotMeasured;

  static constexpr double kNotMeasured = -1;
  static constexpr int kWords = 10;
  using Words = std::array<int64_t, kWords>;
};

// Whether elements have figures: all but kOpaque.
bool HasFigures(ElementType type);

// Adds the figures of `count` elements, at any address. Thread-safe. REQUIRES: HasFigures(type);
// `codec` is given for kByteFloat.
void AddFigures(ElementType type, const void* elements, int64_t count, const ByteFloatCodec* codec,
                Figures* figures);

// Adds the figures of elements that come after those of `figures`.
void Join(const Figures& next, Figures* figures);

// The fields as numbers, for messages between tasks: counts, then the bits of doubles.
Figures::Words ToWords(const Figures& figures);
Figures FromWords(const int64_t* words);

// Vector instructions that AddFigures may use. For tests, which compare the results of all.
VectorLevel BestFiguresLevel();
// REQUIRES: level <= BestFiguresLevel().
void AddFiguresAtLevel(VectorLevel level, ElementType type, const void* elements, int64_t count,
                       const ByteFloatCodec* codec, Figures* figures);

}  // namespace autodist

#endif  // AUTODIST_CORE_FIGURES_FIGURES_H_
