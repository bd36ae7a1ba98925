// Connects to a task that may be reached at one of several addresses.

#ifndef AUTODIST_SOCKETS_CONNECTING_H_
#define AUTODIST_SOCKETS_CONNECTING_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sockets/listener.h"
#include "storage/posix/posix_io.h"

namespace autodist {

// A connection to one of the addresses. Something else than the task may answer there.
class Candidate {
 public:
  virtual ~Candidate() = default;
  virtual int descriptor() const = 0;

  // Bytes have arrived, or the other side has gone. Returns whether the task has proved itself; an
  // error ends this connection. Never waits.
  virtual absl::StatusOr<bool> Hear() = 0;
};

// Connects to all addresses at once. Returns the first candidate that has proved itself. If there
// is none, returns Unavailable, with the addresses and the reason of each; Cancelled once
// `cancelled` is true. `make` makes a candidate of a socket, which does not block and may not be
// connected yet.
absl::StatusOr<std::unique_ptr<Candidate>> ConnectToFirst(
    const std::vector<std::string>& hosts, int port, SocketClock::time_point until,
    const std::atomic<bool>& cancelled,
    const std::function<std::unique_ptr<Candidate>(Descriptor)>& make);

}  // namespace autodist

#endif  // AUTODIST_SOCKETS_CONNECTING_H_
