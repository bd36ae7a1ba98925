// Takes the variables of several tasks at one instant: the part of one task.

#ifndef AUTODIST_SESSIONS_JOINT_INSTANT_H_
#define AUTODIST_SESSIONS_JOINT_INSTANT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "barrier/participant.h"
#include "sessions/instant.h"
#include "sessions/variable_sources.h"

namespace autodist {

struct JointInstant {
  Instant instant;  // `missing` is not set
  int32_t round = 0;
};

// Does what TakeInstant() does, at the instant at which all other participants of the barrier take
// their variables. `missing(index)` makes the error for a variable without a value.
absl::StatusOr<JointInstant> TakeInstantTogether(
    std::vector<SourceValue>* values, const InstantOptions& options,
    const ParticipantOptions& participant, const BarrierToken& token,
    const std::function<absl::Status(size_t index)>& missing, const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_JOINT_INSTANT_H_
