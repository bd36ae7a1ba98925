// A participant is one of several tasks that take their variables at the same instant.

#include "barrier/participant.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "barrier/connecting.h"

namespace autodist {
namespace {

// Lets go of the locks at the end of a block.
class Locked {
 public:
  explicit Locked(Takable* takable) : takable_(*takable) {}
  ~Locked() { Release(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

  void Release() {
    if (!std::exchange(is_released_, true)) takable_.Unlock();
  }

 private:
  Takable& takable_;
  bool is_released_ = false;
};

class Participant {
 public:
  Participant(const ParticipantOptions& options, Connection* connection, Takable* takable,
              const std::atomic<bool>& cancelled)
      : options_(options), connection_(*connection), takable_(*takable), cancelled_(cancelled) {}

  absl::StatusOr<int32_t> Run() {
    for (;; ++round_) {
      absl::StatusOr<bool> is_done = RunRound();
      if (!is_done.ok()) return is_done.status();
      if (*is_done) return round_;
    }
  }

 private:
  // Returns whether all participants have taken their variables.
  absl::StatusOr<bool> RunRound() {
    absl::Status status = takable_.Prepare();
    if (!status.ok()) return Fail(status);
    status = Say(MessageKind::kPrepared);
    if (!status.ok()) return status;
    absl::StatusOr<Message> next = Await({MessageKind::kLock});
    if (!next.ok()) return next.status();
    bool has_taken = false;
    status = TryToTake(std::chrono::milliseconds(next->number), &has_taken);
    if (!status.ok()) return status;
    next = Await(has_taken ? std::vector<MessageKind>{MessageKind::kDone, MessageKind::kAgain}
                           : std::vector<MessageKind>{MessageKind::kAgain});
    if (!next.ok()) return next.status();
    return next->kind == MessageKind::kDone;
  }

  absl::Status TryToTake(std::chrono::milliseconds longest, bool* has_taken) {
    const BarrierClock::time_point begin = BarrierClock::now();
    if (!takable_.LockUntil(begin + std::min(longest, options_.lease))) {
      return Say(MessageKind::kMissed,
                 absl::StrCat("cannot lock its variables within ", longest.count(),
                              " ms: an update or another save holds a lock"));
    }
    Locked locked(&takable_);
    absl::Status status = Say(MessageKind::kLocked);
    if (!status.ok()) return status;
    const BarrierClock::time_point end = BarrierClock::now() + options_.lease;
    absl::StatusOr<std::optional<Message>> next = connection_.Await(end, cancelled_);
    if (!next.ok()) return Lost(next.status());
    if (next->has_value() &&
        ((*next)->kind == MessageKind::kAgain || (*next)->kind == MessageKind::kFailed)) {
      pushed_back_ = *std::move(*next);
      return absl::OkStatus();
    }
    if (next->has_value() && ((*next)->kind != MessageKind::kGo || (*next)->round != round_)) {
      return Unexpected(**next);
    }
    if (!next->has_value() || BarrierClock::now() > end) {
      locked.Release();
      return Say(MessageKind::kMissed, absl::StrCat("held its locks and waited in vain for the "
                                                    "other tasks during its lease of ",
                                                    options_.lease.count(), " ms"));
    }
    const absl::Status taken = takable_.Take();
    locked.Release();
    if (!taken.ok()) return Say(MessageKind::kMissed, std::string(taken.message()));
    status = takable_.Check();
    if (!status.ok()) return Fail(status);
    *has_taken = true;
    return Say(MessageKind::kTaken);
  }

  // Returns the next message of one of `kinds` and of this round. Skips a GO that comes too late.
  absl::StatusOr<Message> Await(const std::vector<MessageKind>& kinds) {
    while (true) {
      absl::StatusOr<std::optional<Message>> message = std::exchange(pushed_back_, std::nullopt);
      if (!message->has_value()) message = connection_.Await(options_.deadline, cancelled_);
      if (!message.ok()) return Lost(message.status());
      if (!message->has_value()) {
        return absl::FailedPreconditionError(
            absl::StrCat(options_.coordinator,
                         ", which leads the save of one instant, was silent "
                         "for too long"));
      }
      Message& found = **message;
      if (found.kind == MessageKind::kFailed) return StatusOf(found);
      if (found.kind == MessageKind::kGo && found.round == round_) continue;
      if (found.round != round_ ||
          std::find(kinds.begin(), kinds.end(), found.kind) == kinds.end()) {
        return Unexpected(found);
      }
      return std::move(found);
    }
  }

  absl::Status Say(MessageKind kind, std::string text = {}) {
    absl::Status status = connection_.Send({kind, round_, 0, std::move(text)});
    return status.ok() ? status : Lost(status);
  }

  // Tells the coordinator that this participant fails. Returns the error that the coordinator then
  // tells all participants.
  absl::Status Fail(const absl::Status& status) {
    connection_.Send(FailedMessage(round_, status)).IgnoreError();
    while (true) {
      const absl::StatusOr<std::optional<Message>> answer =
          connection_.Await(options_.deadline, cancelled_);
      if (!answer.ok() || !answer->has_value()) return status;
      if ((*answer)->kind == MessageKind::kFailed) return StatusOf(**answer);
    }
  }

  absl::Status Lost(const absl::Status& status) const {
    if (!absl::IsUnavailable(status)) return status;
    return absl::UnavailableError(
        absl::StrCat(options_.coordinator,
                     ", which leads the save of one instant, has gone: ", status.message()));
  }

  absl::Status Unexpected(const Message& message) const {
    return absl::InternalError(absl::StrCat(options_.coordinator, " said ", NameOf(message.kind),
                                            " of round ", message.round, " in round ", round_));
  }

  const ParticipantOptions& options_;
  Connection& connection_;
  Takable& takable_;
  const std::atomic<bool>& cancelled_;
  int32_t round_ = 0;
  std::optional<Message> pushed_back_;
};

}  // namespace

absl::StatusOr<int32_t> TakeTogether(const ParticipantOptions& options, const BarrierToken& token,
                                     Takable* takable, const std::atomic<bool>& cancelled) {
  absl::StatusOr<Connection> connection = ConnectToCoordinator(options, token, cancelled);
  if (!connection.ok()) {
    if (!absl::IsUnavailable(connection.status())) return connection.status();
    return absl::FailedPreconditionError(
        absl::StrCat("cannot connect to TCP port ", options.port, " of ", options.coordinator,
                     ", which leads the save of one instant: ", connection.status().message(),
                     ". Nothing was saved. Let tasks connect to each other's ports of "
                     "net.ipv4.ip_local_port_range, or save with consistency='shard'"));
  }
  return Participant(options, &*connection, takable, cancelled).Run();
}

}  // namespace autodist
