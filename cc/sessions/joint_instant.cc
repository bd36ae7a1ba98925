// Takes the variables of several tasks at one instant: the part of one task.

#include "sessions/joint_instant.h"

#include <utility>

namespace autodist {
namespace {

class TakableVariables : public Takable {
 public:
  TakableVariables(std::vector<SourceValue>* values, const InstantOptions& options,
                   const std::function<absl::Status(size_t index)>& missing)
      : taker_(values, options), missing_(missing) {}

  absl::Status Prepare() override {
    // Drops what was taken in an earlier round.
    instant_ = Instant();
    return taker_.Prepare();
  }
  bool LockUntil(BarrierClock::time_point until) override { return taker_.LockUntil(until); }
  absl::Status Take() override { return taker_.Take(); }
  void Unlock() override { taker_.Unlock(); }
  absl::Status Check() override {
    instant_ = taker_.Finish();
    return instant_.missing ? missing_(*instant_.missing) : absl::OkStatus();
  }

  Instant ReleaseInstant() { return std::move(instant_); }

 private:
  InstantTaker taker_;
  const std::function<absl::Status(size_t index)>& missing_;
  Instant instant_;
};

}  // namespace

absl::StatusOr<JointInstant> TakeInstantTogether(
    std::vector<SourceValue>* values, const InstantOptions& options,
    const ParticipantOptions& participant, const BarrierToken& token,
    const std::function<absl::Status(size_t index)>& missing, const std::atomic<bool>& cancelled) {
  TakableVariables takable(values, options, missing);
  absl::StatusOr<int32_t> round = TakeTogether(participant, token, &takable, cancelled);
  if (!round.ok()) return round.status();
  return JointInstant{takable.ReleaseInstant(), *round};
}

}  // namespace autodist
