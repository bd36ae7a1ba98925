// Connects a participant to the coordinator of a save, which may listen on several addresses.

#include "barrier/connecting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace autodist {
namespace {

// One attempt to connect: to one address.
struct Try {
  std::string host;
  std::optional<Connection> connection = {};
  bool is_connected = false;
  std::string failure = {};
};

Try Begin(const std::string& host, int port) {
  Try one = {host};
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    one.failure = "no IPv4 address";
  } else if (socket.get() < 0 ||
             (connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
              errno != EINPROGRESS)) {
    one.failure = std::strerror(errno);
  } else {
    one.connection.emplace(std::move(socket));
  }
  return one;
}

void End(Try* one, std::string why) {
  one->connection.reset();
  one->failure = std::move(why);
}

// Whether the coordinator has shown its half of the token. Ends the attempt if something else
// answers.
bool IsCoordinator(Try* one, const BarrierToken& token) {
  const absl::StatusOr<std::optional<Message>> message = one->connection->Receive();
  if (!message.ok()) {
    End(one, std::string(message.status().message()));
    return false;
  }
  if (!message->has_value()) return false;
  const Message& greeting = **message;
  if (greeting.kind == MessageKind::kGreeting && greeting.round == kBarrierVersion &&
      BarrierToken::AreEqual(token.first_half(), greeting.text)) {
    return true;
  }
  End(one, "something else answers there");
  return false;
}

void NoteProgress(Try* one) {
  if (one->is_connected) return;
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(one->connection->descriptor(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    error = errno;
  }
  if (error != 0) {
    End(one, std::strerror(error));
  } else {
    one->is_connected = true;
  }
}

}  // namespace

absl::StatusOr<Connection> ConnectToCoordinator(const ParticipantOptions& options,
                                                const BarrierToken& token,
                                                const std::atomic<bool>& cancelled) {
  const BarrierClock::time_point until =
      std::min(BarrierClock::now() + options.connect_timeout, options.deadline);
  std::vector<Try> tries;
  for (const std::string& host : options.hosts) tries.push_back(Begin(host, options.port));
  while (BarrierClock::now() < until) {
    if (cancelled) return absl::CancelledError("the run of the save was cancelled");
    std::vector<pollfd> waited;
    std::vector<Try*> open;
    for (Try& one : tries) {
      if (!one.connection) continue;
      const short wanted = one.is_connected ? POLLIN : POLLOUT;
      waited.push_back({one.connection->descriptor(), wanted, 0});
      open.push_back(&one);
    }
    if (open.empty()) break;
    if (poll(waited.data(), waited.size(), PollMilliseconds(until)) <= 0) continue;
    for (size_t i = 0; i < open.size(); ++i) {
      if (waited[i].revents == 0) continue;
      Try* const one = open[i];
      NoteProgress(one);
      if (!one->connection || !one->is_connected || !IsCoordinator(one, token)) continue;
      const absl::Status sent = one->connection->Send(
          {MessageKind::kHello, kBarrierVersion, options.number, std::string(token.second_half())});
      if (sent.ok()) return *std::move(one->connection);
      End(one, std::string(sent.message()));
    }
  }
  return absl::UnavailableError(absl::StrJoin(tries, "; ", [](std::string* text, const Try& one) {
    absl::StrAppend(text, one.host, ": ", one.failure.empty() ? "no answer" : one.failure);
  }));
}

}  // namespace autodist
