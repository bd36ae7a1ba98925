// The coordinator tells all participants of a save when to take their variables.

#ifndef AUTODIST_BARRIER_COORDINATOR_H_
#define AUTODIST_BARRIER_COORDINATOR_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "barrier/connection.h"

namespace autodist {

struct CoordinatorOptions {
  std::vector<std::string> participants;  // their tasks, by number; for error messages
  // How long a participant that is locked waits for GO. Half of it is the longest time for which a
  // participant tries to lock.
  std::chrono::milliseconds lease{300};
  int most_rounds = 12;
  BarrierClock::time_point deadline;  // for all rounds together
};

struct BarrierReport {
  int32_t round = 0;           // the one in which all have taken; the first is 0
  double locking_seconds = 0;  // from LOCK until all were locked
  double taking_seconds = 0;   // from GO until all have taken
};

// Leads one barrier, and returns once all participants have taken their variables. Fails if some
// participant could not take in any round, has failed, or has gone. The error names its task, and
// all participants get the same error.
absl::StatusOr<BarrierReport> Coordinate(const Listener& listener,
                                         const CoordinatorOptions& options,
                                         const BarrierToken& token,
                                         const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_COORDINATOR_H_
