// Turns what a function throws into a status.
//
// An exception that leaves a thread of ours, a kernel or a destructor ends the process. One that
// leaves a function for which other threads still work destroys what they use.

#ifndef AUTODIST_THREADS_GUARDED_H_
#define AUTODIST_THREADS_GUARDED_H_

#include "absl/status/status.h"

namespace autodist {

// ResourceExhausted. Made when the program starts: copying it needs no memory.
const absl::Status& NoMemory();

// The status of the exception that is being handled: ResourceExhausted where memory, threads or
// other resources ran out, else Internal. REQUIRES: called from a catch clause.
absl::Status StatusOfException() noexcept;

// What `work` returns, a status, or the status of what it throws.
template <typename Function>
absl::Status Guarded(const Function& work) noexcept {
  try {
    return work();
  } catch (...) {
    return StatusOfException();
  }
}

}  // namespace autodist

#endif  // AUTODIST_THREADS_GUARDED_H_
