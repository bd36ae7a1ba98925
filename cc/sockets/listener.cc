// TCP sockets between the tasks of a save or restore, beside gRPC.

#include "sockets/listener.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

// How soon a waiting thread notices that its run was cancelled.
constexpr auto kLongestPoll = std::chrono::milliseconds(20);

// When the kernel asks whether the other side is there, and how often it asks again.
constexpr int kAliveIdleSeconds = 30;
constexpr int kAliveAgainSeconds = 10;

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

absl::Status SocketError(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

void SendAtOnce(const Descriptor& socket) {
  const int yes = 1;
  (void)setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

void KeepAlive(const Descriptor& socket) {
  const int yes = 1;
  (void)setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
  (void)setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &kAliveIdleSeconds,
                   sizeof kAliveIdleSeconds);
  (void)setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, &kAliveAgainSeconds,
                   sizeof kAliveAgainSeconds);
}

int PollMilliseconds(SocketClock::time_point until) {
  const auto left = std::clamp<SocketClock::duration>(until - SocketClock::now(),
                                                      SocketClock::duration::zero(), kLongestPoll);
  // Rounded up, so that the thread does not wake before `until`.
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
}

absl::StatusOr<Listener> Listener::Open() {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return SocketError("cannot make a socket", errno);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof address;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(socket.get(), SOMAXCONN) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return SocketError("cannot listen on a free TCP port", errno);
  }
  const int port = ntohs(address.sin_port);
  return Listener{std::move(socket), OwnHosts(), port};
}

std::optional<Descriptor> Listener::Accept() const {
  Descriptor accepted(accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (accepted.get() < 0) return std::nullopt;
  return accepted;
}

}  // namespace autodist
