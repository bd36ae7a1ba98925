// The floating-point environment that a reduction needs.

#ifndef AUTODIST_CORE_REDUCTION_FLOATING_POINT_H_
#define AUTODIST_CORE_REDUCTION_FLOATING_POINT_H_

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace autodist {

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

}  // namespace autodist

#endif  // AUTODIST_CORE_REDUCTION_FLOATING_POINT_H_
