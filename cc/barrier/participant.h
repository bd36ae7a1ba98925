// A participant is one of several tasks that take their variables at the same instant.

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

// What a participant takes: the variables of its task. One thread calls the functions in the order
// Prepare(), LockUntil(), Take(), Unlock(), Check(); a new round begins again with Prepare().
class Takable {
 public:
  virtual ~Takable() = default;

  // Gets ready to take. Does nothing if it is still ready from the round before. An error ends the
  // save.
  virtual absl::Status Prepare() = 0;
  // Takes all locks. Returns false, and holds none, if that is not possible before `until`.
  virtual bool LockUntil(BarrierClock::time_point until) = 0;
  // Takes the variables; the locks are held. After an error the next round tries again.
  virtual absl::Status Take() = 0;
  virtual void Unlock() = 0;
  // Checks what was taken, after Take() was ok. An error ends the save.
  virtual absl::Status Check() = 0;
};

struct ParticipantOptions {
  std::vector<std::string> hosts;  // of the coordinator's Listener
  int port = 0;
  std::string coordinator;  // its task, for messages
  int number = 0;           // which participant this is
  // How long the participant waits for GO while it holds its locks. Take() comes on top.
  std::chrono::milliseconds lease{300};
  std::chrono::milliseconds connect_timeout{10000};
  BarrierClock::time_point deadline;  // for all rounds together
};

// Takes the variables together with all other participants. Returns the number of the round, which
// must be the same for all participants of a save. No lock is held afterwards, also after an error.
absl::StatusOr<int32_t> TakeTogether(const ParticipantOptions& options, const BarrierToken& token,
                                     Takable* takable, const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_PARTICIPANT_H_
