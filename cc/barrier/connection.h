// TCP connections between the tasks of a save of one instant.

#ifndef AUTODIST_BARRIER_CONNECTION_H_
#define AUTODIST_BARRIER_CONNECTION_H_

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "barrier/messages.h"
#include "storage/posix/posix_io.h"

namespace autodist {

using BarrierClock = std::chrono::steady_clock;

// What both sides of a barrier know, and nobody else.
class BarrierToken {
 public:
  static constexpr size_t kBytes = 32;

  // InvalidArgument if it has not the right size.
  static absl::StatusOr<BarrierToken> Of(absl::string_view bytes);

  // What the coordinator shows, and what the participants show.
  absl::string_view first_half() const { return absl::string_view(bytes_).substr(0, kBytes / 2); }
  absl::string_view second_half() const { return absl::string_view(bytes_).substr(kBytes / 2); }

  // Takes the same time wherever they differ.
  static bool AreEqual(absl::string_view half, absl::string_view shown);

 private:
  explicit BarrierToken(std::string bytes) : bytes_(std::move(bytes)) {}

  std::string bytes_;
};

// One side of a connection. Of one thread.
class Connection {
 public:
  // A socket that is connected and does not block.
  explicit Connection(Descriptor socket);

  int descriptor() const { return socket_.get(); }

  // Never waits. Unavailable if the other side has gone.
  absl::Status Send(const Message& message);

  // The next message that has arrived. Unavailable if the other side has gone and all of its
  // messages were read; InvalidArgument if it sent something that is no message.
  absl::StatusOr<std::optional<Message>> Receive();

  // The same, waited for until `until`, or until `cancelled`: Cancelled. Nothing: too late.
  absl::StatusOr<std::optional<Message>> Await(BarrierClock::time_point until,
                                               const std::atomic<bool>& cancelled);

  // Nothing is sent any more; what was sent still arrives.
  void EndSending();

 private:
  absl::Status ReadAll();

  Descriptor socket_;
  MessageReader reader_;
  bool has_ended_ = false;  // the other side
};

// Where participants connect to.
struct Listener {
  Descriptor socket;
  std::vector<std::string> hosts;  // the IPv4 addresses of this machine
  int port;

  // On a free port of all IPv4 addresses, as TensorFlow's servers.
  static absl::StatusOr<Listener> Open();

  // The next connection; nothing if there is none now.
  std::optional<Connection> Accept() const;
};

// How long a wait for several things lasts at most, in milliseconds, so that the rest of the time
// until `until` is noticed, and whether it was cancelled.
int PollMilliseconds(BarrierClock::time_point until);

}  // namespace autodist

#endif  // AUTODIST_BARRIER_CONNECTION_H_
