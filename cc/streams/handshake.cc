// How the two ends of a data connection know each other.

#include "streams/handshake.h"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "streams/sha256.h"

namespace autodist {
namespace {

// Changes when what is said on a connection changes.
constexpr absl::string_view kMagic = "adstrm02";
constexpr size_t kNonceBytes = 32;
constexpr size_t kNumberBytes = 4;
constexpr size_t kGreetingBytes = kMagic.size() + kNonceBytes;
constexpr size_t kHelloBytes = kNonceBytes + kNumberBytes + kSha256Bytes;

absl::StatusOr<std::string> Nonce() {
  std::string nonce(kNonceBytes, '\0');
  if (getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size())) return nonce;
  return absl::UnavailableError("the kernel gives no random bytes");
}

std::string NumberBytes(uint32_t number) {
  std::string bytes;
  for (size_t i = 0; i < kNumberBytes; ++i) {
    bytes.push_back(static_cast<char>((number >> (8 * i)) & 0xFF));
  }
  return bytes;
}

uint32_t NumberOf(absl::string_view bytes) {
  uint32_t number = 0;
  for (size_t i = kNumberBytes; i-- > 0;) number = (number << 8) | static_cast<uint8_t>(bytes[i]);
  return number;
}

// Takes the same time wherever the two differ.
bool AreEqual(absl::string_view a, absl::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference |= static_cast<uint8_t>(a[i]) ^ static_cast<uint8_t>(b[i]);
  }
  return difference == 0;
}

// The IPv4 address and port of one end, in the order of the network.
template <typename Name>
std::string AddressOf(const Descriptor& socket, const Name& name) {
  sockaddr_in address = {};
  socklen_t size = sizeof address;
  if (name(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  return absl::StrCat(
      absl::string_view(reinterpret_cast<const char*>(&address.sin_addr), sizeof address.sin_addr),
      absl::string_view(reinterpret_cast<const char*>(&address.sin_port), sizeof address.sin_port));
}

// A new connection has room for what a handshake says.
absl::Status Say(const Descriptor& socket, absl::string_view bytes) {
  const ssize_t sent = Uninterrupted(
      [&] { return send(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
  if (sent == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
  return SocketError("cannot send", sent < 0 ? errno : EAGAIN);
}

// Reads what has arrived, until `heard` has `wanted` bytes; not one more, which may be data.
// Returns whether it has.
absl::StatusOr<bool> HearUpTo(const Descriptor& socket, size_t wanted, std::string* heard) {
  std::array<char, kHelloBytes> bytes;
  const ssize_t size = Uninterrupted([&] {
    return recv(socket.get(), bytes.data(), std::min(bytes.size(), wanted - heard->size()),
                MSG_DONTWAIT);
  });
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  if (size <= 0) return absl::UnavailableError("it ended the connection");
  heard->append(bytes.data(), static_cast<size_t>(size));
  return heard->size() == wanted;
}

absl::Status Other() { return absl::InvalidArgumentError("something else answers there"); }

}  // namespace

absl::StatusOr<StreamSecret> StreamSecret::Of(absl::string_view bytes) {
  if (bytes.size() == kBytes) return StreamSecret(std::string(bytes));
  return absl::InvalidArgumentError(
      absl::StrCat("a secret has ", kBytes, " bytes, not ", bytes.size()));
}

std::string StreamSecret::Proof(absl::string_view role, absl::string_view connection,
                                uint32_t number) const {
  return HmacSha256(bytes_, absl::StrCat(kMagic, role, connection, NumberBytes(number)));
}

absl::StatusOr<ListeningSide> ListeningSide::Begin(Descriptor socket, const StreamSecret& secret) {
  absl::StatusOr<std::string> nonce = Nonce();
  if (!nonce.ok()) return nonce.status();
  SendAtOnce(socket);
  const absl::Status said = Say(socket, absl::StrCat(kMagic, *nonce));
  if (!said.ok()) return said;
  return ListeningSide(std::move(socket), secret, *std::move(nonce));
}

absl::StatusOr<bool> ListeningSide::Hear() {
  const absl::StatusOr<bool> is_complete = HearUpTo(socket_, kHelloBytes, &heard_);
  if (!is_complete.ok() || !*is_complete) return is_complete;
  const absl::string_view hello = heard_;
  absl::StrAppend(&connection_, hello.substr(0, kNonceBytes), AddressOf(socket_, getsockname));
  number_ = NumberOf(hello.substr(kNonceBytes, kNumberBytes));
  if (!AreEqual(secret_.Proof("hello", connection_, number_),
                hello.substr(kNonceBytes + kNumberBytes))) {
    return Other();
  }
  return true;
}

absl::Status ListeningSide::Welcome() const {
  return Say(socket_, secret_.Proof("welcome", connection_, number_));
}

absl::StatusOr<bool> ConnectingSide::Hear() {
  if (connection_.empty()) {
    const absl::StatusOr<bool> is_complete = HearUpTo(socket_, kGreetingBytes, &heard_);
    if (!is_complete.ok() || !*is_complete) return is_complete;
    if (absl::string_view(heard_).substr(0, kMagic.size()) != kMagic) return Other();
    absl::StatusOr<std::string> own = Nonce();
    if (!own.ok()) return own.status();
    connection_ = absl::StrCat(heard_.substr(kMagic.size()), *own, AddressOf(socket_, getpeername));
    heard_.clear();
    SendAtOnce(socket_);
    const absl::Status said =
        Say(socket_,
            absl::StrCat(*own, NumberBytes(number_), secret_.Proof("hello", connection_, number_)));
    if (!said.ok()) return said;
  }
  const absl::StatusOr<bool> is_complete = HearUpTo(socket_, kSha256Bytes, &heard_);
  if (!is_complete.ok() || !*is_complete) return is_complete;
  if (!AreEqual(secret_.Proof("welcome", connection_, number_), heard_)) return Other();
  return true;
}

}  // namespace autodist
