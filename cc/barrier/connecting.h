// Connects a participant to the coordinator of a save, which may listen on several addresses.

#ifndef AUTODIST_BARRIER_CONNECTING_H_
#define AUTODIST_BARRIER_CONNECTING_H_

#include <atomic>

#include "absl/status/statusor.h"
#include "barrier/connection.h"
#include "barrier/participant.h"

namespace autodist {

// Connects to all addresses at once. Returns the first connection on which the coordinator has
// shown its half of the token, after this side has answered with the other half. If there is none,
// returns Unavailable, with the addresses and the reason of each.
absl::StatusOr<Connection> ConnectToCoordinator(const ParticipantOptions& options,
                                                const BarrierToken& token,
                                                const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_CONNECTING_H_
