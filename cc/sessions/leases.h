// Keeps, by id, what a client asked a task to hold from one op to the next, until the client falls
// silent.

#ifndef AUTODIST_SESSIONS_LEASES_H_
#define AUTODIST_SESSIONS_LEASES_H_

#include <algorithm>
#include <chrono>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "threads/guarded.h"

namespace autodist {

// Something that is released after a time without a message.
class Leased {
 public:
  explicit Leased(std::chrono::seconds lease) : lease_(lease), touched_(Clock::now()) {}

  void Touch() {
    const std::lock_guard<std::mutex> lock(mutex_);
    touched_ = Clock::now();
  }

  bool IsExpired() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Clock::now() - touched_ > lease_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  const std::chrono::seconds lease_;
  std::mutex mutex_;
  Clock::time_point touched_;
};

// All `T`s of this process, which may be several tasks. `T` is Leased, and T::kWhat names it in
// messages. Thread-safe; never destroyed.
template <typename T>
class Leases {
 public:
  static Leases& Get() {
    static Leases* const leases = new Leases;
    return *leases;
  }

  // Holds something under an id from now on. AlreadyExists if the id is in use. Cancelled if it was
  // ended before: an op that the client gave up may run after the op that ends it.
  absl::Status Add(const std::string& id, std::shared_ptr<T> held) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::find(ended_.begin(), ended_.end(), id) != ended_.end()) {
      return absl::CancelledError(absl::StrCat(T::kWhat, " ", id, " was ended before"));
    }
    if (!held_.emplace(id, std::move(held)).second) {
      return absl::AlreadyExistsError(absl::StrCat(T::kWhat, " ", id, " was begun before"));
    }
    Watch();
    return absl::OkStatus();
  }

  // Renews the lease, and once more when the caller releases the result. FailedPrecondition if
  // nothing is held, for instance after the lease expired.
  absl::StatusOr<std::shared_ptr<T>> Find(const std::string& id) {
    std::shared_ptr<T> held = FindOrNull(id);
    if (held != nullptr) return held;
    return absl::FailedPreconditionError(
        absl::StrCat(T::kWhat, " ", id,
                     " is not held here: this task was restarted, or it has heard nothing of it "
                     "for longer than Saver(timeout_seconds=...)"));
  }

  std::shared_ptr<T> FindOrNull(const std::string& id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Watch();
    const auto found = held_.find(id);
    if (found == held_.end()) return nullptr;
    found->second->Touch();
    T* const held = found->second.get();
    return std::shared_ptr<T>(held, [keeper = found->second](T* used) { used->Touch(); });
  }

  // Holds it no longer; the id is not used again. Returns what was held, or null.
  std::shared_ptr<T> End(const std::string& id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<T> ended;
    if (const auto found = held_.find(id); found != held_.end()) {
      ended = std::move(found->second);
      held_.erase(found);
    }
    Guarded([&] {
      ended_.push_back(id);
      return absl::OkStatus();
    }).IgnoreError();
    if (ended_.size() > kKeptIds) ended_.pop_front();
    return ended;
  }

  // Releases what is expired and used by no op. The watching thread calls it every second.
  void RemoveExpired() {
    std::map<std::string, std::shared_ptr<T>> expired;  // destroyed without the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    // An op at work may take all threads of the task, so that no op can renew the other leases.
    for (const auto& [id, held] : held_) {
      if (held.use_count() == 1) continue;
      for (const auto& [other, each] : held_) each->Touch();
      break;
    }
    for (auto it = held_.begin(); it != held_.end();) {
      const auto next = std::next(it);
      // An op that is at work refers to it too.
      if (it->second.use_count() == 1 && it->second->IsExpired()) {
        expired.insert(held_.extract(it));
      }
      it = next;
    }
  }

 private:
  // More than the ops that can be under way at a time.
  static constexpr size_t kKeptIds = 256;

  Leases() = default;

  // Where no thread can be started now, the next call tries again. REQUIRES: mutex_ is held.
  void Watch() {
    if (is_watched_ || held_.empty()) return;
    is_watched_ = Guarded([this] {
                    std::thread([this] {
                      while (true) {
                        std::this_thread::sleep_for(std::chrono::seconds(1));
                        RemoveExpired();
                      }
                    }).detach();
                    return absl::OkStatus();
                  }).ok();
  }

  std::mutex mutex_;
  bool is_watched_ = false;
  std::map<std::string, std::shared_ptr<T>> held_;
  std::deque<std::string> ended_;  // the last ids that were ended
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_LEASES_H_
