// TCP connections between the tasks of a save of one instant.

#ifndef AUTODIST_BARRIER_CONNECTION_H_
#define AUTODIST_BARRIER_CONNECTION_H_

#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "barrier/messages.h"
#include "sockets/listener.h"
#include "storage/posix/posix_io.h"

namespace autodist {

using BarrierClock = SocketClock;

// Random bytes by which both sides of a barrier know each other. A stranger does not know them.
class BarrierToken {
 public:
  static constexpr size_t kBytes = 32;

  // InvalidArgument if `bytes` are not kBytes.
  static absl::StatusOr<BarrierToken> Of(absl::string_view bytes);

  // The coordinator shows the first half, and participants show the second.
  absl::string_view first_half() const { return absl::string_view(bytes_).substr(0, kBytes / 2); }
  absl::string_view second_half() const { return absl::string_view(bytes_).substr(kBytes / 2); }

  // Takes the same time wherever the two differ, so that a stranger learns nothing from the time.
  static bool AreEqual(absl::string_view half, absl::string_view shown);

 private:
  explicit BarrierToken(std::string bytes) : bytes_(std::move(bytes)) {}

  std::string bytes_;
};

// One side of a connection. One thread uses it.
class Connection {
 public:
  // `socket` is connected, and does not block.
  explicit Connection(Descriptor socket);

  int descriptor() const { return socket_.get(); }

  // Never waits. Unavailable if the other side has gone.
  absl::Status Send(const Message& message);

  // Returns the next message that has arrived, or nullopt. Never waits. Unavailable if the other
  // side has gone and all of its messages were read. InvalidArgument if it sent what is no message.
  absl::StatusOr<std::optional<Message>> Receive();

  // Waits for the next message. Returns nullopt at `until`, and Cancelled once `cancelled` is true.
  absl::StatusOr<std::optional<Message>> Await(BarrierClock::time_point until,
                                               const std::atomic<bool>& cancelled);

  // Ends this side's sending. What was sent still arrives, and Receive() still works.
  void EndSending();

 private:
  absl::Status ReadAll();

  Descriptor socket_;
  MessageReader reader_;
  bool has_ended_ = false;  // whether the other side has ended the connection
};

}  // namespace autodist

#endif  // AUTODIST_BARRIER_CONNECTION_H_
