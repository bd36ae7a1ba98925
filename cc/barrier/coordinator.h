// The one that says when all participants of a save take their variables.

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
  std::vector<std::string> participants;  // their tasks, for messages
  // As of the participants. Half of it is the longest time to try for locks.
  std::chrono::milliseconds lease{300};
  int most_rounds = 12;
  BarrierClock::time_point deadline;  // of all
};

struct BarrierReport {
  int32_t round = 0;           // in which all have taken; from 0
  double locking_seconds = 0;  // from LOCK until all were locked
  double taking_seconds = 0;   // from GO until all have taken
};

// Leads one barrier: returns once all participants have taken. An error, which all participants
// have too: some could not in any round, or one has failed, or has gone; names its task.
absl::StatusOr<BarrierReport> Coordinate(const Listener& listener,
                                         const CoordinatorOptions& options,
                                         const BarrierToken& token,
                                         const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_COORDINATOR_H_
