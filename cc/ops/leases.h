// What a client asked a task to keep from one op to the next, by its id, until it falls silent.

#ifndef AUTODIST_OPS_LEASES_H_
#define AUTODIST_OPS_LEASES_H_

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace autodist {

// Something that is let go of after a time without a word.
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

// All `T`s, which are Leased and call themselves T::kWhat, of this process, which may be several
// tasks. Thread-safe; never destroyed.
template <typename T>
class Leases {
 public:
  static Leases& Get() {
    static Leases* const leases = new Leases;
    return *leases;
  }

  // AlreadyExists where the id is in use.
  absl::StatusOr<std::shared_ptr<T>> Add(const std::string& id, std::chrono::seconds lease) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto [found, is_new] = held_.emplace(id, nullptr);
    if (!is_new) {
      return absl::AlreadyExistsError(absl::StrCat(T::kWhat, " ", id, " was begun before"));
    }
    found->second = std::make_shared<T>(lease);
    Watch();
    return found->second;
  }

  // Renews the lease. FailedPrecondition if there is none, as after the lease.
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
    const auto found = held_.find(id);
    if (found == held_.end()) return nullptr;
    found->second->Touch();
    return found->second;
  }

  void Remove(const std::string& id) {
    std::shared_ptr<T> removed;  // destroyed without the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = held_.find(id);
    if (found == held_.end()) return;
    removed = std::move(found->second);
    held_.erase(found);
  }

 private:
  Leases() = default;

  void Watch() {
    if (std::exchange(is_watched_, true)) return;
    std::thread([this] {
      while (true) {
        std::this_thread::sleep_for(std::chrono::seconds(1));
        RemoveExpired();
      }
    }).detach();
  }

  void RemoveExpired() {
    std::vector<std::shared_ptr<T>> expired;  // destroyed without the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    // While one is at work, it may have left no thread of the task for what would renew the others.
    for (const auto& [id, held] : held_) {
      if (held.use_count() == 1) continue;
      for (const auto& [other, each] : held_) each->Touch();
      break;
    }
    for (auto it = held_.begin(); it != held_.end();) {
      // An op that is at work refers to it too.
      if (it->second.use_count() == 1 && it->second->IsExpired()) {
        expired.push_back(std::move(it->second));
        it = held_.erase(it);
      } else {
        ++it;
      }
    }
  }

  std::mutex mutex_;
  bool is_watched_ = false;
  std::map<std::string, std::shared_ptr<T>> held_;
};

}  // namespace autodist

#endif  // AUTODIST_OPS_LEASES_H_
