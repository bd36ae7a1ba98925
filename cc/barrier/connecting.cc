// Connects a participant to the coordinator of a save, which may listen on several addresses.

#include "barrier/connecting.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "sockets/connecting.h"

namespace autodist {
namespace {

// A connection on which the coordinator is to show its half of the token.
class Greeted : public Candidate {
 public:
  Greeted(Descriptor socket, int number, const BarrierToken& token)
      : connection_(std::move(socket)), number_(number), token_(token) {}

  int descriptor() const override { return connection_.descriptor(); }
  Connection TakeConnection() { return std::move(connection_); }

  // Answers the coordinator with the other half.
  absl::StatusOr<bool> Hear() override {
    const absl::StatusOr<std::optional<Message>> message = connection_.Receive();
    if (!message.ok()) return message.status();
    if (!message->has_value()) return false;
    const Message& greeting = **message;
    if (greeting.kind != MessageKind::kGreeting || greeting.round != kBarrierVersion ||
        !BarrierToken::AreEqual(token_.first_half(), greeting.text)) {
      return absl::UnavailableError("something else answers there");
    }
    const absl::Status sent = connection_.Send(
        {MessageKind::kHello, kBarrierVersion, number_, std::string(token_.second_half())});
    if (!sent.ok()) return sent;
    return true;
  }

 private:
  Connection connection_;
  const int number_;
  const BarrierToken& token_;
};

}  // namespace

absl::StatusOr<Connection> ConnectToCoordinator(const ParticipantOptions& options,
                                                const BarrierToken& token,
                                                const std::atomic<bool>& cancelled) {
  const auto found =
      ConnectToFirst(options.hosts, options.port,
                     std::min(BarrierClock::now() + options.connect_timeout, options.deadline),
                     cancelled, [&](Descriptor socket) {
                       return std::make_unique<Greeted>(std::move(socket), options.number, token);
                     });
  if (!found.ok()) return found.status();
  return static_cast<Greeted*>(found->get())->TakeConnection();
}

}  // namespace autodist
