// The exclusive locks of several variables, held together.

#include "sessions/joint_locks.h"

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>

namespace autodist {
namespace {

using tensorflow::Var;

// While one lock is waited for, those that are held stop training; so nobody waits for longer with
// others in hand, but begins anew a little later.
constexpr auto kLongestWait = std::chrono::milliseconds(10);
constexpr auto kPause = std::chrono::milliseconds(2);
constexpr int kMostRounds = 200;

}  // namespace

bool IsLockedBefore(Var* a, Var* b) { return std::less<const void*>()(a->mu(), b->mu()); }

void BringIntoLockOrder(std::vector<Var*>* variables) {
  std::sort(variables->begin(), variables->end(), IsLockedBefore);
  variables->erase(std::unique(variables->begin(), variables->end()), variables->end());
}

JointLocks::JointLocks(std::vector<Var*> variables) : variables_(std::move(variables)) {
  BringIntoLockOrder(&variables_);
}

void JointLocks::Lock() {
  size_t first = 0;
  for (int round = 0; round < kMostRounds; ++round) {
    first = LockFrom(first, Clock::time_point::max());
    if (are_locked_) return;
    std::this_thread::sleep_for(kPause);
  }
  for (Var* variable : variables_) variable->mu()->lock();
  since_ = Clock::now();
  are_locked_ = true;
}

bool JointLocks::LockUntil(Clock::time_point until) {
  size_t first = 0;
  while (true) {
    first = LockFrom(first, until);
    if (are_locked_) return true;
    if (Clock::now() + kPause > until) return false;
    std::this_thread::sleep_for(kPause);
  }
}

// Waits for one lock with no other in hand, and then for the others for a short time. So nobody
// waits for long, and the next round begins with the lock that was missed. Sets are_locked_, or
// returns which was not to be had.
size_t JointLocks::LockFrom(size_t first, Clock::time_point until) {
  since_ = Clock::now();
  if (!variables_.empty()) {
    if (!LockOne(first, until)) return first;
    since_ = Clock::now();
  }
  until = std::min(until, since_ + kLongestWait);
  for (size_t i = 0; i < variables_.size(); ++i) {
    if (i == first || LockOne(i, until)) continue;
    UnlockFirst(i);
    if (first > i) variables_[first]->mu()->unlock();
    return i;
  }
  are_locked_ = true;
  return 0;
}

bool JointLocks::LockOne(size_t number, Clock::time_point until) {
  tensorflow::mutex* const mu = variables_[number]->mu();
  if (until == Clock::time_point::max()) {
    mu->lock();
    return true;
  }
  while (!mu->try_lock()) {
    if (Clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

void JointLocks::UnlockFirst(size_t count) {
  while (count-- > 0) variables_[count]->mu()->unlock();
}

void JointLocks::Unlock() {
  if (!are_locked_) return;
  UnlockFirst(variables_.size());
  seconds_ = std::chrono::duration<double>(Clock::now() - since_).count();
  are_locked_ = false;
}

}  // namespace autodist
