// Takes values from the front of a fuzzer's input. When nothing is left, all values are zero.

#ifndef AUTODIST_FUZZ_FUZZ_INPUT_H_
#define AUTODIST_FUZZ_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

#include "absl/strings/string_view.h"

namespace autodist::fuzz {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  bool is_empty() const { return left_.empty(); }

  uint8_t TakeByte() {
    if (left_.empty()) return 0;
    const uint8_t byte = static_cast<uint8_t>(left_.front());
    left_.remove_prefix(1);
    return byte;
  }

  std::string TakeBytes(size_t most) {
    const std::string bytes(left_.substr(0, most));
    left_.remove_prefix(bytes.size());
    return bytes;
  }

  std::string TakeRest() { return TakeBytes(left_.size()); }

  // All up to the next `end`, which is taken too.
  std::string TakeUntil(char end) {
    const size_t at = std::min(left_.find(end), left_.size());
    const std::string bytes = TakeBytes(at);
    TakeByte();
    return bytes;
  }

  // Mostly small numbers, else those at which something may overflow, else any.
  int64_t TakeNumber() {
    static constexpr int64_t kExtremes[] = {
        -1,        INT32_MAX,       INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, int64_t{1} << 32,
        1LL << 62, INT64_MAX - 255, 1LL << 40, 1 << 20};
    const uint8_t byte = TakeByte();
    if (byte < 0xE0) return byte;
    if (byte - 0xE0 < static_cast<int>(std::size(kExtremes))) return kExtremes[byte - 0xE0];
    uint64_t number = 0;
    for (int i = 0; i < 8; ++i) number = (number << 8) | TakeByte();
    return static_cast<int64_t>(number);
  }

 private:
  absl::string_view left_;
};

// What a fuzzer does with an input; each fuzzer defines it.
void Fuzz(FuzzInput* input);

}  // namespace autodist::fuzz

#endif  // AUTODIST_FUZZ_FUZZ_INPUT_H_
