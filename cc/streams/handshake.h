// How the two ends of a data connection know each other: docs/design/data-connections.md.
//
//   the task that listens                          the task that connects
//       -- greeting: magic, nonce L ------------------->
//       <- hello: nonce C, number, HMAC(secret, "hello" L C address number)
//       -- welcome: HMAC(secret, "welcome" L C address number) ->
//
// The secret never travels here. Both nonces are new for each connection, so what somebody heard on
// one is worth nothing on another. `address` is where the one listens, and the other connects: IPv4
// address and port. So nobody who listens elsewhere can pass on what the two say.

#ifndef AUTODIST_STREAMS_HANDSHAKE_H_
#define AUTODIST_STREAMS_HANDSHAKE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sockets/connecting.h"
#include "storage/posix/posix_io.h"

namespace autodist {

// Random bytes of one save or restore, which its tasks get through gRPC.
class StreamSecret {
 public:
  static constexpr size_t kBytes = 32;

  // InvalidArgument if `bytes` are not kBytes.
  static absl::StatusOr<StreamSecret> Of(absl::string_view bytes);

  // What who knows the secret says in a role: "hello" or "welcome". `connection` is what is of this
  // connection alone: both nonces, and the address.
  std::string Proof(absl::string_view role, absl::string_view connection, uint32_t number) const;

 private:
  explicit StreamSecret(std::string bytes) : bytes_(std::move(bytes)) {}

  std::string bytes_;
};

// The side of a handshake that listens. Never waits. Holds no more of a peer's bytes than a hello
// has.
class ListeningSide {
 public:
  // Greets.
  static absl::StatusOr<ListeningSide> Begin(Descriptor socket, const StreamSecret& secret);

  int descriptor() const { return socket_.get(); }

  // Bytes have arrived. Returns whether the peer knows the secret. Unavailable if it has gone,
  // InvalidArgument if it said something else.
  absl::StatusOr<bool> Hear();

  // REQUIRES: Hear() has returned true.
  uint32_t number() const { return number_; }
  // Tells the peer that this connection is the one that is used.
  absl::Status Welcome() const;
  Descriptor TakeSocket() { return std::move(socket_); }

 private:
  ListeningSide(Descriptor socket, const StreamSecret& secret, std::string nonce)
      : socket_(std::move(socket)), secret_(secret), connection_(std::move(nonce)) {}

  Descriptor socket_;
  StreamSecret secret_;
  std::string connection_;  // its own nonce; then as for StreamSecret::Proof()
  std::string heard_;
  uint32_t number_ = 0;
};

// The side that connects.
class ConnectingSide : public Candidate {
 public:
  ConnectingSide(Descriptor socket, const StreamSecret& secret, uint32_t number)
      : socket_(std::move(socket)), secret_(secret), number_(number) {}

  int descriptor() const override { return socket_.get(); }
  absl::StatusOr<bool> Hear() override;

  Descriptor TakeSocket() { return std::move(socket_); }

 private:
  Descriptor socket_;
  StreamSecret secret_;
  const uint32_t number_;
  std::string connection_;  // for StreamSecret::Proof(), once the greeting was heard
  std::string heard_;
};

}  // namespace autodist

#endif  // AUTODIST_STREAMS_HANDSHAKE_H_
