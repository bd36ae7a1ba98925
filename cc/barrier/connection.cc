// TCP connections between the tasks of a save of one instant.

#include "barrier/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace autodist {

absl::StatusOr<BarrierToken> BarrierToken::Of(absl::string_view bytes) {
  if (bytes.size() == kBytes) return BarrierToken(std::string(bytes));
  return absl::InvalidArgumentError(
      absl::StrCat("a token has ", kBytes, " bytes, not ", bytes.size()));
}

bool BarrierToken::AreEqual(absl::string_view half, absl::string_view shown) {
  unsigned difference = half.size() == shown.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(half.size(), shown.size()); ++i) {
    difference |= static_cast<uint8_t>(half[i]) ^ static_cast<uint8_t>(shown[i]);
  }
  return difference == 0;
}

Connection::Connection(Descriptor socket) : socket_(std::move(socket)) { SendAtOnce(socket_); }

absl::Status Connection::Send(const Message& message) {
  const std::string bytes = Encode(message);
  while (true) {
    const ssize_t sent =
        send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
    if (sent < 0 && errno == EINTR) continue;
    // A message is small. If it does not fit into the buffer, the other side has not read for long.
    return SocketError(absl::StrCat("cannot send ", NameOf(message.kind)),
                       sent < 0 ? errno : EAGAIN);
  }
}

absl::StatusOr<std::optional<Message>> Connection::Receive() {
  const absl::Status read = ReadAll();
  absl::StatusOr<std::optional<Message>> message = reader_.Next();
  if (!message.ok() || message->has_value()) return message;
  if (!read.ok()) return read;
  return std::nullopt;
}

// Reads what has arrived.
absl::Status Connection::ReadAll() {
  std::array<char, 4096> bytes;
  while (!has_ended_) {
    const ssize_t size = recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size > 0) {
      reader_.Add(absl::string_view(bytes.data(), static_cast<size_t>(size)));
      // There may be more. The next call reads it, so that a peer cannot keep this one busy for
      // ever.
      return absl::OkStatus();
    }
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return absl::OkStatus();
    has_ended_ = true;
  }
  return absl::UnavailableError("it ended the connection");
}

absl::StatusOr<std::optional<Message>> Connection::Await(BarrierClock::time_point until,
                                                         const std::atomic<bool>& cancelled) {
  while (true) {
    absl::StatusOr<std::optional<Message>> message = Receive();
    if (!message.ok() || message->has_value()) return message;
    if (cancelled) return absl::CancelledError("the run of the save was cancelled");
    if (BarrierClock::now() >= until) return std::nullopt;
    pollfd waited = {socket_.get(), POLLIN, 0};
    (void)poll(&waited, 1, PollMilliseconds(until));
  }
}

void Connection::EndSending() { (void)shutdown(socket_.get(), SHUT_WR); }

}  // namespace autodist
