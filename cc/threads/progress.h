// How far a save or restore is. The threads that move bytes count them. The code that shows the
// progress reads the counts, and may ask a save to stop.

#ifndef AUTODIST_THREADS_PROGRESS_H_
#define AUTODIST_THREADS_PROGRESS_H_

#include <atomic>
#include <cstdint>

namespace autodist {

// Thread-safe.
class Progress {
 public:
  // Begins, or begins again: 0 of `total_bytes` are done.
  void Begin(int64_t total_bytes) {
    done_bytes_ = 0;
    total_bytes_ = total_bytes;
  }

  // Asks a save to fail before it commits.
  void Cancel() { is_cancelled_ = true; }
  bool is_cancelled() const { return is_cancelled_.load(std::memory_order_relaxed); }

  void Add(int64_t bytes) { done_bytes_.fetch_add(bytes, std::memory_order_relaxed); }

  int64_t done_bytes() const { return done_bytes_.load(std::memory_order_relaxed); }
  // 0 before Begin().
  int64_t total_bytes() const { return total_bytes_; }

 private:
  std::atomic<int64_t> done_bytes_{0};
  std::atomic<int64_t> total_bytes_{0};
  std::atomic<bool> is_cancelled_{false};
};

}  // namespace autodist

#endif  // AUTODIST_THREADS_PROGRESS_H_
