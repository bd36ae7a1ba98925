// A TCP connection on which one task of a save or restore sends bytes to another.

#include "streams/data_connection.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

// How soon a thread that waits for the other side notices that its run was cancelled.
constexpr int kWaitMicroseconds = 100000;

constexpr uint32_t kFrameMagic = 0x4D524641;  // "AFRM"
constexpr uint32_t kFileMagic = 0x4C494641;   // "AFIL": without a sum
constexpr size_t kTrailerNumbers = 4;
using Trailer = std::array<char, 4 * kTrailerNumbers>;

// Whether an error of sendfile() is one of the socket, not of the file.
bool IsOfSocket(int error) {
  switch (error) {
    case EAGAIN:
    case EINTR:
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ETIMEDOUT:
    case ENOTCONN:
    case ESHUTDOWN:
    case ENETDOWN:
    case ENETRESET:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
      return true;
    default:
      return false;
  }
}

void PutNumber(uint32_t number, size_t index, Trailer* trailer) {
  for (size_t i = 0; i < 4; ++i) {
    (*trailer)[4 * index + i] = static_cast<char>((number >> (8 * i)) & 0xFF);
  }
}

uint32_t NumberIn(const Trailer& trailer, size_t index) {
  uint32_t number = 0;
  for (size_t i = 4; i-- > 0;)
    number = (number << 8) | static_cast<uint8_t>(trailer[4 * index + i]);
  return number;
}

}  // namespace

DataConnection::DataConnection(Descriptor socket, std::string peer, std::chrono::seconds patience)
    : socket_(std::move(socket)), peer_(std::move(peer)), patience_(patience) {
  const int flags = fcntl(socket_.get(), F_GETFL);
  if (flags >= 0) (void)fcntl(socket_.get(), F_SETFL, flags & ~O_NONBLOCK);
  const timeval wait = {0, kWaitMicroseconds};
  (void)setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  (void)setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  KeepAlive(socket_);
}

void DataConnection::End() {
  is_ended_ = true;
  (void)shutdown(socket_.get(), SHUT_RDWR);
}

absl::Status DataConnection::WrongSum() const {
  return absl::DataLossError(absl::StrCat("bytes of ", peer_,
                                          " were damaged on their way: their checksum is not the "
                                          "one that ",
                                          peer_, " has made"));
}

// Whether to go on after a call that moved `moved` bytes, or failed with `error`.
absl::Status DataConnection::Check(ssize_t moved, int error, SocketClock::time_point* last,
                                   const std::atomic<bool>& cancelled) const {
  if (is_ended_) return absl::FailedPreconditionError("the data connection was ended");
  if (cancelled) return absl::CancelledError("the run was cancelled");
  const SocketClock::time_point now = SocketClock::now();
  if (moved > 0) {
    *last = now;
    return absl::OkStatus();
  }
  if (moved == 0) {
    return absl::UnavailableError(absl::StrCat(peer_, " has ended the data connection"));
  }
  if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR) {
    return SocketError(absl::StrCat("the data connection to ", peer_, " is lost"), error);
  }
  if (now - *last < patience_) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat(peer_, " was silent on the data connection for ", patience_.count(), " s"));
}

template <typename Call>
absl::Status DataConnection::Move(char* first, size_t first_size, char* second, size_t second_size,
                                  const Call& call, const std::atomic<bool>& cancelled) {
  if (has_failed_) return absl::FailedPreconditionError("the data connection has failed before");
  std::array<iovec, 2> ranges = {iovec{first, first_size}, iovec{second, second_size}};
  SocketClock::time_point last = SocketClock::now();
  while (ranges[1].iov_len > 0) {
    msghdr message = {};
    message.msg_iov = ranges[0].iov_len > 0 ? ranges.data() : ranges.data() + 1;
    message.msg_iovlen = ranges[0].iov_len > 0 ? 2 : 1;
    const ssize_t moved = call(&message);
    const absl::Status status = Check(moved, errno, &last, cancelled);
    if (!status.ok()) {
      has_failed_ = true;
      return status;
    }
    size_t left = moved > 0 ? static_cast<size_t>(moved) : 0;
    for (iovec& range : ranges) {
      const size_t taken = std::min(left, range.iov_len);
      range.iov_base = static_cast<char*>(range.iov_base) + taken;
      range.iov_len -= taken;
      left -= taken;
    }
  }
  return absl::OkStatus();
}

absl::Status DataConnection::Send(absl::string_view bytes, absl::crc32c_t crc,
                                  const std::atomic<bool>& cancelled) {
  return SendTrailer(kFrameMagic, static_cast<int64_t>(bytes.size()), crc, bytes, cancelled);
}

// Sends `bytes`, and the trailer of a frame of `size` bytes.
absl::Status DataConnection::SendTrailer(uint32_t magic, int64_t size, absl::crc32c_t crc,
                                         absl::string_view bytes,
                                         const std::atomic<bool>& cancelled) {
  Trailer trailer;
  PutNumber(magic, 0, &trailer);
  PutNumber(sent_++, 1, &trailer);
  PutNumber(static_cast<uint32_t>(size), 2, &trailer);
  PutNumber(static_cast<uint32_t>(crc), 3, &trailer);
  // sendmsg() does not write to the bytes.
  return Move(
      const_cast<char*>(bytes.data()), bytes.size(), trailer.data(), trailer.size(),
      [this](msghdr* message) { return sendmsg(socket_.get(), message, MSG_NOSIGNAL); }, cancelled);
}

absl::Status DataConnection::SendFile(int file, int64_t offset, int64_t size,
                                      const std::atomic<bool>& cancelled) {
  if (has_failed_) return absl::FailedPreconditionError("the data connection has failed before");
  SocketClock::time_point last = SocketClock::now();
  off_t next = offset;
  while (next < offset + size) {
    // sendfile() has no MSG_NOSIGNAL.
    const BlockedSignal no_signal(SIGPIPE);
    const ssize_t sent =
        sendfile(socket_.get(), file, &next, static_cast<size_t>(offset + size - next));
    const int error = errno;
    const bool is_of_file = sent == 0 || (sent < 0 && !IsOfSocket(error));
    if (is_of_file && next == offset) {
      return absl::UnimplementedError("the kernel does not send these bytes of the file");
    }
    const absl::Status status =
        is_of_file
            ? absl::DataLossError(absl::StrCat("the file cannot be read at byte ", next, ": ",
                                               sent == 0 ? "it ends there" : std::strerror(error)))
            : Check(sent, error, &last, cancelled);
    if (status.ok()) continue;
    has_failed_ = true;
    return status;
  }
  return SendTrailer(kFileMagic, size, absl::crc32c_t{0}, "", cancelled);
}

absl::StatusOr<std::optional<absl::crc32c_t>> DataConnection::Receive(
    char* out, int64_t size, const std::atomic<bool>& cancelled) {
  Trailer trailer;
  const absl::Status moved = Move(
      out, static_cast<size_t>(size), trailer.data(), trailer.size(),
      [this](msghdr* message) { return recvmsg(socket_.get(), message, MSG_WAITALL); }, cancelled);
  if (!moved.ok()) return moved;
  const uint32_t magic = NumberIn(trailer, 0);
  if ((magic == kFrameMagic || magic == kFileMagic) && NumberIn(trailer, 1) == received_ &&
      NumberIn(trailer, 2) == static_cast<uint32_t>(size)) {
    ++received_;
    if (magic == kFileMagic) return std::nullopt;
    return absl::crc32c_t{NumberIn(trailer, 3)};
  }
  has_failed_ = true;
  return absl::InvalidArgumentError(
      absl::StrCat(peer_, " has sent something else than was planned on its data connection"));
}

}  // namespace autodist
