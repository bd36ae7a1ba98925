// One of those that take their variables at the same instant.

#ifndef AUTODIST_BARRIER_PARTICIPANT_H_
#define AUTODIST_BARRIER_PARTICIPANT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "barrier/connection.h"

namespace autodist {

// What a participant takes. All functions are called by one thread, in the order
// Prepare(), LockUntil(), Take(), Unlock(), Check(), and again from the beginning.
class Takable {
 public:
  virtual ~Takable() = default;

  // An error ends the save. Does nothing if it is still prepared.
  virtual absl::Status Prepare() = 0;
  // False, and nothing is locked, if that is not possible before `until`.
  virtual bool LockUntil(BarrierClock::time_point until) = 0;
  // Under the locks. An error is tried again.
  virtual absl::Status Take() = 0;
  virtual void Unlock() = 0;
  // After Take() was ok. An error ends the save.
  virtual absl::Status Check() = 0;
};

struct ParticipantOptions {
  std::vector<std::string> hosts;  // of the coordinator's Listener
  int port = 0;
  std::string coordinator;  // its task, for messages
  int number = 0;           // which participant this is
  // How long locks are held at most, but for the time that Take() needs.
  std::chrono::milliseconds lease{300};
  std::chrono::milliseconds connect_timeout{10000};
  BarrierClock::time_point deadline;  // of all
};

// Takes together with all others. Returns the number of the round; all participants of a save must
// have the same. Nothing is locked afterwards, whatever happens.
absl::StatusOr<int32_t> TakeTogether(const ParticipantOptions& options, const BarrierToken& token,
                                     Takable* takable, const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_PARTICIPANT_H_
