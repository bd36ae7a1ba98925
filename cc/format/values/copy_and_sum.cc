// Copies bytes and computes the CRC32C of the copy, faster than in two passes. The header tells
// how.

#include "format/values/copy_and_sum.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/string_view.h"
#include "tables/bytes/crc_folding.h"

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

namespace autodist {
namespace {

// Has the bytes [begin, size) observed.
void ObserveFrom(int64_t begin, int64_t size, const char* bytes, PieceObserver* observer) {
  if (observer == nullptr) return;
  for (; begin < size; begin += kObservedBytes) {
    observer->Observe(bytes + begin, std::min(kObservedBytes, size - begin));
  }
}

}  // namespace

#ifdef __x86_64__
namespace {

// Three of these, copied, are in the first-level cache together.
constexpr int64_t kPieceBytes = 4096;
// One of these, and what it was copied from.
constexpr int64_t kFoldedPieceBytes = kObservedBytes;
// Below this joining three sums costs more than it gains.
constexpr int64_t kLeastBytes = 3 * 1024;

struct Lanes {
  uint64_t states[3] = {0xffffffff, 0xffffffff, 0xffffffff};
};

// REQUIRES: size is a multiple of 8.
__attribute__((target("sse4.2"))) void Extend(const char* const bytes[3], int64_t size,
                                              Lanes* lanes) {
  uint64_t state0 = lanes->states[0], state1 = lanes->states[1], state2 = lanes->states[2];
  for (int64_t i = 0; i < size; i += 8) {
    uint64_t word0, word1, word2;
    std::memcpy(&word0, bytes[0] + i, 8);
    std::memcpy(&word1, bytes[1] + i, 8);
    std::memcpy(&word2, bytes[2] + i, 8);
    state0 = _mm_crc32_u64(state0, word0);
    state1 = _mm_crc32_u64(state1, word1);
    state2 = _mm_crc32_u64(state2, word2);
  }
  lanes->states[0] = state0;
  lanes->states[1] = state1;
  lanes->states[2] = state2;
}

absl::crc32c_t CrcOf(uint64_t state) { return absl::crc32c_t{~static_cast<uint32_t>(state)}; }

bool HasCrcInstruction() {
  static const bool has = __builtin_cpu_supports("sse4.2");
  return has;
}

// Sums `size` bytes at `bytes`, of which those before `tail` have the sum `crc`. If `from` is not
// null, copies them to `copy`, where `bytes` is too, first.
absl::crc32c_t WithTail(absl::crc32c_t crc, int64_t tail, const char* from, int64_t size,
                        char* copy, const char* bytes) {
  if (from != nullptr) std::memcpy(copy + tail, from + tail, size - tail);
  return absl::ExtendCrc32c(crc, absl::string_view(bytes + tail, size - tail));
}

// The same from the first byte on.
absl::crc32c_t InLanes(const char* from, int64_t size, char* copy, const char* bytes) {
  const int64_t lane_size = size / 24 * 8;
  Lanes lanes;
  for (int64_t begin = 0; begin < lane_size; begin += kPieceBytes) {
    const int64_t piece_size = std::min(kPieceBytes, lane_size - begin);
    const char* pieces[3];
    for (int lane = 0; lane < 3; ++lane) {
      const int64_t offset = lane * lane_size + begin;
      if (from != nullptr) std::memcpy(copy + offset, from + offset, piece_size);
      pieces[lane] = bytes + offset;
    }
    Extend(pieces, piece_size, &lanes);
  }
  absl::crc32c_t crc = CrcOf(lanes.states[0]);
  crc = absl::ConcatCrc32c(crc, CrcOf(lanes.states[1]), lane_size);
  crc = absl::ConcatCrc32c(crc, CrcOf(lanes.states[2]), lane_size);
  return WithTail(crc, 3 * lane_size, from, size, copy, bytes);
}

// The same by folding.
absl::crc32c_t Folded(const char* from, int64_t size, char* copy, const char* bytes,
                      PieceObserver* observer) {
  const int64_t tail = size - size % kFoldBytes;
  uint32_t state = 0xffffffff;
  int64_t observed = 0;
  for (int64_t begin = 0; begin < tail; begin += kFoldedPieceBytes) {
    const int64_t piece_size = std::min(kFoldedPieceBytes, tail - begin);
    if (from != nullptr) std::memcpy(copy + begin, from + begin, piece_size);
    state = ExtendByFolding(state, bytes + begin, piece_size);
    if (observer == nullptr || piece_size < kFoldedPieceBytes) continue;
    observer->Observe(bytes + begin, piece_size);
    observed = begin + piece_size;
  }
  const absl::crc32c_t crc = WithTail(CrcOf(state), tail, from, size, copy, bytes);
  ObserveFrom(observed, size, bytes, observer);
  return crc;
}

}  // namespace

absl::crc32c_t CopyAndSumInLanes(const char* from, int64_t size, char* to) {
  if (size < kLeastBytes || !HasCrcInstruction()) return absl::MemcpyCrc32c(to, from, size);
  return InLanes(from, size, to, to);
}

absl::crc32c_t SumInLanes(const char* bytes, int64_t size) {
  if (size < kLeastBytes || !HasCrcInstruction()) {
    return absl::ComputeCrc32c(absl::string_view(bytes, size));
  }
  return InLanes(nullptr, size, nullptr, bytes);
}

absl::crc32c_t CopyAndSum(const char* from, int64_t size, char* to, PieceObserver* observer) {
  if (size >= kLeastBytes && CanFold()) return Folded(from, size, to, to, observer);
  const absl::crc32c_t crc = CopyAndSumInLanes(from, size, to);
  ObserveFrom(0, size, to, observer);
  return crc;
}

absl::crc32c_t Sum(const char* bytes, int64_t size, PieceObserver* observer) {
  if (size >= kLeastBytes && CanFold()) return Folded(nullptr, size, nullptr, bytes, observer);
  const absl::crc32c_t crc = SumInLanes(bytes, size);
  ObserveFrom(0, size, bytes, observer);
  return crc;
}

#else

absl::crc32c_t CopyAndSumInLanes(const char* from, int64_t size, char* to) {
  return absl::MemcpyCrc32c(to, from, size);
}

absl::crc32c_t SumInLanes(const char* bytes, int64_t size) {
  return absl::ComputeCrc32c(absl::string_view(bytes, size));
}

absl::crc32c_t CopyAndSum(const char* from, int64_t size, char* to, PieceObserver* observer) {
  const absl::crc32c_t crc = CopyAndSumInLanes(from, size, to);
  ObserveFrom(0, size, to, observer);
  return crc;
}

absl::crc32c_t Sum(const char* bytes, int64_t size, PieceObserver* observer) {
  const absl::crc32c_t crc = SumInLanes(bytes, size);
  ObserveFrom(0, size, bytes, observer);
  return crc;
}

#endif

}  // namespace autodist
