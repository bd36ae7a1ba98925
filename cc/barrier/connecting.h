// Finds the coordinator of a save among the addresses of its machine.

#ifndef AUTODIST_BARRIER_CONNECTING_H_
#define AUTODIST_BARRIER_CONNECTING_H_

#include <atomic>

#include "absl/status/statusor.h"
#include "barrier/connection.h"
#include "barrier/participant.h"

namespace autodist {

// Connects to all addresses at once, and returns the first connection that shows the coordinator's
// half of the token, after this side has shown the other. Unavailable, with the addresses and why,
// if none does.
absl::StatusOr<Connection> ConnectToCoordinator(const ParticipantOptions& options,
                                                const BarrierToken& token,
                                                const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_CONNECTING_H_
