// A TCP connection on which one task of a save or restore sends bytes to another.
//
// The bytes travel in frames, whose sizes both sides know from the plan:
//
//   bytes | magic, 4 | number of the frame, 4 | size, 4 | CRC32C of the bytes, 4
//
// Numbers are little-endian. The trailer stands behind the bytes, so that one call receives both.
// Another magic says that the sender has made no sum: the kernel has sent bytes of a file.

#ifndef AUTODIST_STREAMS_DATA_CONNECTION_H_
#define AUTODIST_STREAMS_DATA_CONNECTION_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sockets/listener.h"
#include "storage/posix/posix_io.h"

namespace autodist {

// The bytes of a frame of a save, but the last: they stay in the second-level cache from the sum to
// the system call. The frames of a restore are blocks (threads/block.h).
inline constexpr int64_t kFrameBytes = int64_t{256} << 10;

// One thread sends or receives at a time. After an error all later calls fail.
class DataConnection {
 public:
  // `socket` has passed the handshake. `peer` is the task at the other end, for messages. No call
  // waits longer than `patience` for the other side to take or send a byte.
  DataConnection(Descriptor socket, std::string peer, std::chrono::seconds patience);

  const std::string& peer() const { return peer_; }

  // Sends a frame. Unavailable if the other side has gone, DeadlineExceeded if it does not read,
  // Cancelled once `cancelled` is true, FailedPrecondition after End().
  absl::Status Send(absl::string_view bytes, absl::crc32c_t crc,
                    const std::atomic<bool>& cancelled);

  // Sends bytes of a file as a frame without a sum: the kernel sends them from its page cache.
  // Errors as Send(). Unimplemented if the file's first byte of them cannot be sent, for whatever
  // reason; nothing was sent, and Send() still works. DataLoss if a later one cannot be read.
  absl::Status SendFile(int file, int64_t offset, int64_t size, const std::atomic<bool>& cancelled);

  // Receives a frame of `size` bytes into `out`. Returns the sum that the sender has made, if it
  // has; the caller compares it. Errors as Send(); InvalidArgument if something else was sent.
  absl::StatusOr<std::optional<absl::crc32c_t>> Receive(char* out, int64_t size,
                                                        const std::atomic<bool>& cancelled);

  // DataLoss that says from whom the bytes of a frame came whose sum is another.
  absl::Status WrongSum() const;

  // Ends the connection. A thread that sends or receives fails soon. Thread-safe.
  void End();

  // For the time in which an op sends or receives: false if another does.
  bool BeginUse() { return !is_used_.exchange(true); }
  void EndUse() { is_used_ = false; }

 private:
  // Sends or receives until all of two ranges of bytes are done.
  template <typename Call>
  absl::Status Move(char* first, size_t first_size, char* second, size_t second_size,
                    const Call& call, const std::atomic<bool>& cancelled);
  absl::Status SendTrailer(uint32_t magic, int64_t size, absl::crc32c_t crc,
                           absl::string_view bytes, const std::atomic<bool>& cancelled);
  absl::Status Check(ssize_t moved, int error, SocketClock::time_point* last,
                     const std::atomic<bool>& cancelled) const;

  Descriptor socket_;
  const std::string peer_;
  const std::chrono::seconds patience_;
  uint32_t sent_ = 0, received_ = 0;  // frames
  bool has_failed_ = false;
  std::atomic<bool> is_used_{false};
  std::atomic<bool> is_ended_{false};
};

}  // namespace autodist

#endif  // AUTODIST_STREAMS_DATA_CONNECTION_H_
