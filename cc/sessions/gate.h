// Lets threads use something until it is closed. Whoever closes the gate waits for the threads
// inside, and then is alone.

#ifndef AUTODIST_SESSIONS_GATE_H_
#define AUTODIST_SESSIONS_GATE_H_

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace autodist {

// Thread-safe.
class Gate {
 public:
  // Enters the gate if it is open, and leaves it when destroyed.
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

  // Lets no thread in any more. Returns once none is inside. A thread that stays long asks
  // is_closed().
  void Close() {
    std::unique_lock<std::mutex> lock(mutex_);
    is_closed_ = true;
    changed_.wait(lock, [this] { return inside_ == 0; });
  }

  // For threads inside: true once somebody waits for them.
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
    // Notifies under the lock: the thread that waits may destroy the gate.
    if (--inside_ == 0) changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> is_closed_{false};
  int inside_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_GATE_H_
