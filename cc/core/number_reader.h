// Reads a plan that another process has encoded as numbers.

#ifndef AUTODIST_CORE_NUMBER_READER_H_
#define AUTODIST_CORE_NUMBER_READER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace autodist {

// Reads numbers one after the other. Fails at the end of the numbers, or at a number out of range.
// After that all reads fail.
class NumberReader {
 public:
  // REQUIRES: the numbers outlive the reader.
  NumberReader(const int64_t* numbers, size_t count) : numbers_(numbers), count_(count) {}

  // Returns the next number, which must be in [least, most]; `least` if the reader has failed.
  int64_t Next(int64_t least, int64_t most) {
    if (next_ >= count_ || numbers_[next_] < least || numbers_[next_] > most) {
      has_failed_ = true;
      return least;
    }
    return numbers_[next_++];
  }

  int64_t Natural() { return Next(0, INT64_MAX); }

  // Reads how many items follow. Each takes at least one number, so there cannot be more items than
  // numbers.
  int64_t Count() { return Next(0, static_cast<int64_t>(count_ - next_)); }

  std::vector<int64_t> Naturals(int64_t count) {
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < count && !has_failed_; ++i) numbers.push_back(Natural());
    return numbers;
  }

  bool has_failed() const { return has_failed_; }
  // Whether all numbers were taken, and each was in its range.
  bool is_complete() const { return !has_failed_ && next_ == count_; }

 private:
  const int64_t* const numbers_;
  const size_t count_;
  size_t next_ = 0;
  bool has_failed_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_CORE_NUMBER_READER_H_
