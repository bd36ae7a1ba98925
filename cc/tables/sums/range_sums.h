// The CRCs of many ranges of a file, by several threads.
//
// Large ranges are cut into pieces, whose sums are joined at the end; small ranges that are close
// to each other are read together. So both a variable of 10 GiB and 100,000 of 4 bytes keep all
// threads busy. A thread has a buffer of kUnitBytes, which stays in its processor's cache.
//
//   file     |---- w ------------------------------|b|c|d|--- e ---|
//   units    |-- w, 0 --|-- w, 1 --|-- w, 2 -------|- b, c, d -|- e -|

#ifndef AUTODIST_TABLES_SUMS_RANGE_SUMS_H_
#define AUTODIST_TABLES_SUMS_RANGE_SUMS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tables/sums/stored_bytes.h"

namespace autodist {

enum class SumState : uint8_t {
  kSummed,
  kMissing,     // beyond the end of the file
  kUnparsable,  // not as many strings or variants
  kUnreadable,  // the system's error
  kNotDone,     // stopped before
};

struct RangeSum {
  SumState state = SumState::kNotDone;
  uint32_t crc = 0;
  int error_number = 0;
};

class RangeSums {
 public:
  static constexpr int64_t kUnitBytes = int64_t{512} << 10;

  // REQUIRES: each range has an offset and size of at least 0, whose sum int64 holds. The source
  // outlives this object.
  RangeSums(const ByteSource& source, std::vector<StoredRange> ranges, int threads);
  ~RangeSums();

  // Waits for the end; false if it has not come in time.
  bool WaitFor(int milliseconds);
  // Ends it soon, without sums of what is not summed by then.
  void Stop() { stopped_ = true; }

  int64_t done_bytes() const { return done_bytes_; }

  // The sums, in the order of the ranges. REQUIRES: WaitFor() has returned true.
  const std::vector<RangeSum>& sums() const { return sums_; }

 private:
  // Bytes that one thread takes: `count` ranges from `first` on in order of offset; or, of one
  // range, those from `offset` on.
  struct Unit {
    size_t first;
    size_t count;
    int64_t offset;
    int64_t size_bytes;
    bool is_piece;
    uint32_t crc;  // of a piece
  };

  void MakeUnits();
  void Work(std::string* buffer);
  void SumTogether(const Unit& unit, std::string* buffer);
  void SumAlone(size_t range, std::string* buffer);
  void SumPiece(Unit* unit, std::string* buffer);
  void Join();

  const ByteSource& source_;
  const std::vector<StoredRange> ranges_;
  std::vector<size_t> order_;  // ranges by offset
  std::vector<RangeSum> sums_;
  std::vector<Unit> units_;
  std::atomic<size_t> next_unit_{0};
  std::atomic<int64_t> done_bytes_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::condition_variable ended_;
  int working_ = 0;  // threads
  bool joined_ = false;
  std::vector<std::string> buffers_;  // one a thread
  std::vector<std::thread> threads_;
};

}  // namespace autodist

#endif  // AUTODIST_TABLES_SUMS_RANGE_SUMS_H_
