// TCP sockets between the tasks of a save or restore, beside gRPC: one task listens for a moment,
// and the others connect to it (connecting.h).

#ifndef AUTODIST_SOCKETS_LISTENER_H_
#define AUTODIST_SOCKETS_LISTENER_H_

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/posix/posix_io.h"

namespace autodist {

using SocketClock = std::chrono::steady_clock;

// A socket that others connect to.
struct Listener {
  Descriptor socket;
  std::vector<std::string> hosts;  // the IPv4 addresses of this machine
  int port;

  // Listens on a free port of all IPv4 addresses of this machine, as TensorFlow's servers do.
  static absl::StatusOr<Listener> Open();

  // Returns the socket of the next connection, which does not block, or nullopt if none is waiting.
  std::optional<Descriptor> Accept() const;
};

// "<what>: <text of error>": Unavailable. `error` is an errno value.
absl::Status SocketError(absl::string_view what, int error);

// Sends small messages at once.
void SendAtOnce(const Descriptor& socket);

// Has the kernel ask for signs of life while no byte moves. So no firewall forgets the connection,
// and it ends if the other machine is gone.
void KeepAlive(const Descriptor& socket);

// Returns the timeout for one poll(2), in milliseconds. It is short, so that the caller notices
// soon when `until` comes or the run is cancelled.
int PollMilliseconds(SocketClock::time_point until);

}  // namespace autodist

#endif  // AUTODIST_SOCKETS_LISTENER_H_
