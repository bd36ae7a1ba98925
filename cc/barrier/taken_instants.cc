// See the header for what this is for.

#include "barrier/taken_instants.h"

#include <algorithm>
#include <chrono>

namespace autodist {
namespace {

constexpr size_t kMostTokens = 64;
// How long a cancelled wait goes on at most.
constexpr std::chrono::milliseconds kLongestWait(50);

}  // namespace

TakenInstants& TakenInstants::Get() {
  static auto* const instants = new TakenInstants;
  return *instants;
}

void TakenInstants::Note(absl::string_view token) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tokens_.emplace_back(token);
    if (tokens_.size() > kMostTokens) tokens_.pop_front();
  }
  noted_.notify_all();
}

bool TakenInstants::Await(absl::string_view token, BarrierClock::time_point until,
                          const std::atomic<bool>& cancelled) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (std::find(tokens_.begin(), tokens_.end(), token) == tokens_.end()) {
    if (cancelled || BarrierClock::now() >= until) return false;
    noted_.wait_until(lock, std::min(until, BarrierClock::now() + kLongestWait));
  }
  return true;
}

}  // namespace autodist
