// The coordinator tells all participants of a save when to take their variables.

#include "barrier/coordinator.h"

#include <poll.h>

#include <algorithm>
#include <list>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace autodist {
namespace {

// In the first round participants try for so long to lock. Each later round doubles the time.
constexpr auto kFirstTry = std::chrono::milliseconds(20);

// Before a round, training goes on for so long, times the number of the round.
constexpr auto kPause = std::chrono::milliseconds(5);

// How long a stranger may be connected, and how many there may be beside the participants.
constexpr auto kHelloTimeout = std::chrono::seconds(5);
constexpr size_t kMostStrangers = 64;

// How long to wait until all have read the last message. To close a connection earlier may lose it.
constexpr auto kFarewell = std::chrono::seconds(5);

double Seconds(BarrierClock::duration time) { return std::chrono::duration<double>(time).count(); }

// A peer that has connected, and has not yet shown its half of the token.
struct Stranger {
  Connection connection;
  BarrierClock::time_point until;
};

struct Peer {
  std::string task;
  std::optional<Connection> connection = {};
  bool has_connected = false;              // at some time; it may have gone since
  MessageKind last = MessageKind::kHello;  // the last message of this round
};

class Coordinator {
 public:
  Coordinator(const Listener& listener, const CoordinatorOptions& options,
              const BarrierToken& token, const std::atomic<bool>& cancelled)
      : listener_(listener), options_(options), token_(token), cancelled_(cancelled) {
    for (const std::string& task : options.participants) peers_.push_back({task});
  }

  absl::StatusOr<BarrierReport> Run() {
    absl::StatusOr<BarrierReport> report = RunRounds();
    if (!report.ok()) TellAll(FailedMessage(round_, report.status()));
    Part();
    return report;
  }

 private:
  absl::StatusOr<BarrierReport> RunRounds() {
    for (; round_ < options_.most_rounds; ++round_) {
      missed_.clear();
      for (Peer& peer : peers_) peer.last = MessageKind::kHello;
      absl::StatusOr<bool> is_done = RunRound();
      if (!is_done.ok()) return is_done.status();
      report_.round = round_;
      if (*is_done) return report_;
      if (round_ + 1 < options_.most_rounds) SayToAll({MessageKind::kAgain, round_});
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "no instant of all tasks could be taken in ", options_.most_rounds, " tries: ", missed_,
        ". Nothing was saved. Save again when fewer updates hold locks for long, or with "
        "consistency='shard'"));
  }

  // Returns whether all participants have taken their variables.
  absl::StatusOr<bool> RunRound() {
    absl::StatusOr<bool> reached = Await(MessageKind::kPrepared, options_.deadline);
    if (!reached.ok()) return reached;
    if (!*reached) return Late("prepare");
    const BarrierClock::time_point pause_end = BarrierClock::now() + kPause * round_;
    while (BarrierClock::now() < pause_end && !cancelled_) PollAll(pause_end);
    const auto longest_try = std::min<std::chrono::milliseconds>(
        options_.lease / 2, kFirstTry * (1 << std::min(round_, 8)));
    const BarrierClock::time_point begin = BarrierClock::now();
    SayToAll({MessageKind::kLock, round_, longest_try.count()});
    reached = Await(MessageKind::kLocked, begin + longest_try + options_.lease);
    if (!reached.ok()) return reached;
    if (!*reached) {
      if (missed_.empty()) missed_ = absl::StrCat(Others(MessageKind::kLocked), " did not answer");
      return false;
    }
    const BarrierClock::time_point go = BarrierClock::now();
    report_.locking_seconds = Seconds(go - begin);
    SayToAll({MessageKind::kGo, round_});
    reached = Await(MessageKind::kTaken, options_.deadline);
    if (!reached.ok()) return reached;
    if (!*reached && missed_.empty()) return Late("take its image");
    if (!*reached) return false;
    report_.taking_seconds = Seconds(BarrierClock::now() - go);
    SayToAll({MessageKind::kDone, round_});
    return true;
  }

  absl::StatusOr<bool> Late(absl::string_view what) const {
    const MessageKind expected = what == "prepare" ? MessageKind::kPrepared : MessageKind::kTaken;
    return absl::FailedPreconditionError(
        absl::StrCat(Others(expected), " did not ", what,
                     " in time for a save of one instant. Nothing was saved"));
  }

  // Waits until all have said `wanted` in this round. Returns false if `until` comes first, or if a
  // participant says MISSED.
  absl::StatusOr<bool> Await(MessageKind wanted, BarrierClock::time_point until) {
    while (true) {
      // The participants are ops of the same run, which end with it.
      if (cancelled_) return absl::CancelledError("the run of the save was cancelled");
      if (!failure_.ok()) return failure_;
      if (!missed_.empty()) return false;
      if (std::all_of(peers_.begin(), peers_.end(),
                      [wanted](const Peer& peer) { return peer.last == wanted; })) {
        return true;
      }
      if (BarrierClock::now() >= until) return false;
      PollAll(until);
    }
  }

  // The tasks that have not said `wanted`.
  std::string Others(MessageKind wanted) const {
    std::vector<std::string> tasks;
    for (const Peer& peer : peers_) {
      if (peer.last != wanted) tasks.push_back(peer.task);
    }
    return absl::StrJoin(tasks, ", ");
  }

  // Waits for messages and connections until `until` at most, and handles those that have arrived.
  void PollAll(BarrierClock::time_point until) {
    std::vector<pollfd> waited;
    if (strangers_.size() < kMostStrangers) {
      waited.push_back({listener_.socket.get(), POLLIN, 0});
    }
    for (const Stranger& each : strangers_) {
      waited.push_back({each.connection.descriptor(), POLLIN, 0});
    }
    for (const Peer& peer : peers_) {
      if (peer.connection) waited.push_back({peer.connection->descriptor(), POLLIN, 0});
    }
    (void)poll(waited.data(), waited.size(), PollMilliseconds(until));
    AcceptAll();
    HearStrangers();
    for (Peer& peer : peers_) {
      if (peer.connection) Hear(&peer);
    }
  }

  void AcceptAll() {
    while (strangers_.size() < kMostStrangers) {
      std::optional<Descriptor> socket = listener_.Accept();
      if (!socket) return;
      Connection accepted(*std::move(socket));
      const absl::Status sent = accepted.Send(
          {MessageKind::kGreeting, kBarrierVersion, 0, std::string(token_.first_half())});
      if (sent.ok()) {
        strangers_.push_back({std::move(accepted), BarrierClock::now() + kHelloTimeout});
      }
    }
  }

  // Admits strangers that show the token. Ends the connections of the others.
  void HearStrangers() {
    for (auto it = strangers_.begin(); it != strangers_.end();) {
      absl::StatusOr<std::optional<Message>> message = it->connection.Receive();
      if (message.ok() && !message->has_value() && BarrierClock::now() < it->until) {
        ++it;
        continue;
      }
      if (message.ok() && message->has_value()) Admit(**message, &it->connection);
      it = strangers_.erase(it);
    }
  }

  void Admit(const Message& hello, Connection* connection) {
    if (hello.kind != MessageKind::kHello || hello.round != kBarrierVersion ||
        !BarrierToken::AreEqual(token_.second_half(), hello.text) || hello.number < 0 ||
        hello.number >= static_cast<int64_t>(peers_.size())) {
      return;
    }
    Peer& peer = peers_[static_cast<size_t>(hello.number)];
    if (std::exchange(peer.has_connected, true)) return;
    peer.connection.emplace(std::move(*connection));
  }

  void Hear(Peer* peer) {
    while (true) {
      absl::StatusOr<std::optional<Message>> message = peer->connection->Receive();
      if (!message.ok()) return Lose(peer, message.status());
      if (!message->has_value()) return;
      const Message& said = **message;
      if (said.kind == MessageKind::kFailed) {
        const absl::Status status = StatusOf(said);
        return Fail(absl::Status(status.code(), absl::StrCat(peer->task, ": ", status.message())));
      }
      // The participant had not yet heard that the round is over.
      if (said.round < round_) continue;
      if (!IsNext(said, *peer)) {
        return Lose(peer, absl::InvalidArgumentError(absl::StrCat("it said ", NameOf(said.kind),
                                                                  " of round ", said.round)));
      }
      if (said.kind == MessageKind::kMissed) {
        missed_ = absl::StrCat(peer->task, " ", said.text);
      }
      peer->last = said.kind;
    }
  }

  // Whether a participant may say that now.
  bool IsNext(const Message& said, const Peer& peer) const {
    if (said.round != round_) return false;
    switch (said.kind) {
      case MessageKind::kPrepared:
        return true;
      case MessageKind::kLocked:
        return peer.last == MessageKind::kPrepared;
      case MessageKind::kTaken:
        return peer.last == MessageKind::kLocked;
      case MessageKind::kMissed:
        return peer.last == MessageKind::kPrepared || peer.last == MessageKind::kLocked;
      default:
        return false;
    }
  }

  void Lose(Peer* peer, const absl::Status& status) {
    peer->connection.reset();
    Fail(absl::UnavailableError(absl::StrCat(peer->task, " was lost during a save of one instant: ",
                                             status.message(), ". Nothing was saved")));
  }

  void Fail(const absl::Status& status) { failure_.Update(status); }

  void SayToAll(const Message& message) {
    for (Peer& peer : peers_) {
      if (!peer.connection) continue;
      const absl::Status sent = peer.connection->Send(message);
      if (!sent.ok()) Lose(&peer, sent);
    }
  }

  // Sends `failed` to all participants. Waits for those that have not connected yet.
  void TellAll(const Message& failed) {
    const BarrierClock::time_point until = BarrierClock::now() + kFarewell;
    std::vector<bool> is_told(peers_.size(), false);
    while (true) {
      for (size_t i = 0; i < peers_.size(); ++i) {
        if (is_told[i] || !peers_[i].connection) continue;
        is_told[i] = true;
        peers_[i].connection->Send(failed).IgnoreError();
      }
      const bool are_all = std::all_of(peers_.begin(), peers_.end(),
                                       [](const Peer& peer) { return peer.has_connected; });
      if (are_all || cancelled_ || BarrierClock::now() >= until) return;
      PollAll(until);
    }
  }

  // Waits until all participants have read the last message, and ends the connections.
  void Part() {
    const BarrierClock::time_point until = BarrierClock::now() + kFarewell;
    strangers_.clear();
    for (Peer& peer : peers_) {
      if (peer.connection) peer.connection->EndSending();
    }
    for (Peer& peer : peers_) {
      while (peer.connection && BarrierClock::now() < until) {
        const absl::StatusOr<std::optional<Message>> message =
            peer.connection->Await(until, cancelled_);
        if (!message.ok()) break;
      }
    }
  }

  const Listener& listener_;
  const CoordinatorOptions& options_;
  const BarrierToken& token_;
  const std::atomic<bool>& cancelled_;
  std::vector<Peer> peers_;
  std::list<Stranger> strangers_;
  int32_t round_ = 0;
  std::string missed_;    // which task has missed this round, and why
  absl::Status failure_;  // of the save
  BarrierReport report_;
};

}  // namespace

absl::StatusOr<BarrierReport> Coordinate(const Listener& listener,
                                         const CoordinatorOptions& options,
                                         const BarrierToken& token,
                                         const std::atomic<bool>& cancelled) {
  return Coordinator(listener, options, token, cancelled).Run();
}

}  // namespace autodist
