// Lets ops at something until it is ended: whoever ends it waits for those that are at it, and then
// has it alone.

#ifndef AUTODIST_SESSIONS_GATE_H_
#define AUTODIST_SESSIONS_GATE_H_

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace autodist {

// Thread-safe.
class Gate {
 public:
  // Whether the gate was open, and this is inside until it is destroyed.
  class Visit {
   public:
    explicit Visit(Gate* gate) : gate_(*gate), is_inside_(gate->Enter()) {}
    ~Visit() {
      if (is_inside_) gate_.Leave();
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    bool is_inside() const { return is_inside_; }

   private:
    Gate& gate_;
    const bool is_inside_;
  };

  // Lets nobody in any more. Returns once nobody is inside; those that stay long ask is_closed().
  void Close() {
    std::unique_lock<std::mutex> lock(mutex_);
    is_closed_ = true;
    changed_.wait(lock, [this] { return inside_ == 0; });
  }

  // For those inside: somebody waits for them.
  const std::atomic<bool>& is_closed() const { return is_closed_; }

 private:
  bool Enter() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_closed_) return false;
    ++inside_;
    return true;
  }

  void Leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Under the lock: who waits may destroy the gate.
    if (--inside_ == 0) changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> is_closed_{false};
  int inside_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_GATE_H_
