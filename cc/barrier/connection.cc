// TCP connections between the tasks of a save of one instant.

#include "barrier/connection.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

// How soon a waiting thread notices that its run was cancelled.
constexpr auto kLongestPoll = std::chrono::milliseconds(20);

constexpr int kBacklog = 128;

absl::Status SocketError(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

std::vector<std::string> OwnHosts() {
  std::vector<std::string> hosts;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return hosts;
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    if (each->ifa_addr->sa_family != AF_INET) continue;
    std::array<char, NI_MAXHOST> text = {};
    if (getnameinfo(each->ifa_addr, sizeof(sockaddr_in), text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      hosts.emplace_back(text.data());
    }
  }
  freeifaddrs(all);
  return hosts;
}

}  // namespace

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

int PollMilliseconds(BarrierClock::time_point until) {
  const auto left = std::clamp<BarrierClock::duration>(
      until - BarrierClock::now(), BarrierClock::duration::zero(), kLongestPoll);
  // Rounded up, so that the thread does not wake before `until`.
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
}

Connection::Connection(Descriptor socket) : socket_(std::move(socket)) {
  const int yes = 1;
  (void)setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

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

absl::StatusOr<Listener> Listener::Open() {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return SocketError("cannot make a socket", errno);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof address;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(socket.get(), kBacklog) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return SocketError("cannot listen on a free TCP port", errno);
  }
  const int port = ntohs(address.sin_port);
  return Listener{std::move(socket), OwnHosts(), port};
}

std::optional<Connection> Listener::Accept() const {
  Descriptor accepted(accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (accepted.get() < 0) return std::nullopt;
  return Connection(std::move(accepted));
}

}  // namespace autodist
