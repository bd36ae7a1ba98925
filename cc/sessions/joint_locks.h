// The exclusive locks of several variables, held together.

#ifndef AUTODIST_SESSIONS_JOINT_LOCKS_H_
#define AUTODIST_SESSIONS_JOINT_LOCKS_H_

#include <chrono>
#include <cstddef>
#include <vector>

#include "tensorflow/core/framework/resource_var.h"

namespace autodist {

// TensorFlow's order for taking several variables' locks: that of the addresses.
bool IsLockedBefore(tensorflow::Var* a, tensorflow::Var* b);

// Brings variables into that order, each once.
void BringIntoLockOrder(std::vector<tensorflow::Var*>* variables);

// Used by one thread.
class JointLocks {
 public:
  using Clock = std::chrono::steady_clock;

  // `variables` outlive it.
  explicit JointLocks(std::vector<tensorflow::Var*> variables);
  ~JointLocks() { Unlock(); }
  JointLocks(const JointLocks&) = delete;
  JointLocks& operator=(const JointLocks&) = delete;

  // While it waits for one lock it holds others for some milliseconds only.
  void Lock();
  // The same; false, and nothing is locked, if that is not possible before `until`.
  bool LockUntil(Clock::time_point until);

  void Unlock();  // if they are locked

  // How long they were locked the last time.
  double seconds() const { return seconds_; }

 private:
  size_t LockFrom(size_t first, Clock::time_point until);
  bool LockOne(size_t number, Clock::time_point until);
  void UnlockFirst(size_t count);

  std::vector<tensorflow::Var*> variables_;
  bool are_locked_ = false;
  Clock::time_point since_;
  double seconds_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_JOINT_LOCKS_H_
