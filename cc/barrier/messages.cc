// What the tasks of a save of one instant say to each other: docs/design/snapshots.md, "Several
// servers".
//
// A message in bytes, with little-endian numbers:
//
//   size of the rest, 4 bytes | kind, 1 | round, 4 | number, 8 | text

#include "barrier/messages.h"

#include <algorithm>
#include <type_traits>

namespace autodist {
namespace {

constexpr size_t kSizeBytes = 4;
constexpr size_t kFixedBytes = 1 + 4 + 8;
constexpr size_t kMostTextBytes = 4000;

template <typename T>
void Append(T value, std::string* bytes) {
  const auto digits = static_cast<std::make_unsigned_t<T>>(value);
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes->push_back(static_cast<char>((digits >> (8 * i)) & 0xFF));
  }
}

template <typename T>
T NumberAt(absl::string_view bytes, size_t at) {
  std::make_unsigned_t<T> digits = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    digits |= static_cast<std::make_unsigned_t<T>>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  }
  return static_cast<T>(digits);
}

}  // namespace

const char* NameOf(MessageKind kind) {
  switch (kind) {
    case MessageKind::kGreeting:
      return "GREETING";
    case MessageKind::kHello:
      return "HELLO";
    case MessageKind::kPrepared:
      return "PREPARED";
    case MessageKind::kLock:
      return "LOCK";
    case MessageKind::kLocked:
      return "LOCKED";
    case MessageKind::kGo:
      return "GO";
    case MessageKind::kTaken:
      return "TAKEN";
    case MessageKind::kMissed:
      return "MISSED";
    case MessageKind::kAgain:
      return "AGAIN";
    case MessageKind::kDone:
      return "DONE";
    case MessageKind::kFailed:
      return "FAILED";
  }
  return "nothing";
}

std::string Encode(const Message& message) {
  const size_t text_size = std::min(message.text.size(), kMostTextBytes);
  std::string bytes;
  Append(static_cast<uint32_t>(kFixedBytes + text_size), &bytes);
  bytes.push_back(static_cast<char>(message.kind));
  Append(message.round, &bytes);
  Append(message.number, &bytes);
  bytes.append(message.text, 0, text_size);
  return bytes;
}

Message FailedMessage(int32_t round, const absl::Status& status) {
  return {MessageKind::kFailed, round, static_cast<int64_t>(status.code()),
          std::string(status.message())};
}

absl::Status StatusOf(const Message& failed) {
  const bool is_code = failed.number > 0 && failed.number <= 16;
  return absl::Status(
      is_code ? static_cast<absl::StatusCode>(failed.number) : absl::StatusCode::kUnknown,
      failed.text);
}

absl::StatusOr<std::optional<Message>> MessageReader::Next() {
  if (bytes_.size() < kSizeBytes) return std::nullopt;
  const size_t size = NumberAt<uint32_t>(bytes_, 0);
  if (size < kFixedBytes || size > kFixedBytes + kMostTextBytes) {
    return absl::InvalidArgumentError("something that is no message");
  }
  if (bytes_.size() < kSizeBytes + size) return std::nullopt;
  Message message;
  message.kind = static_cast<MessageKind>(bytes_[kSizeBytes]);
  if (message.kind < MessageKind::kGreeting || message.kind > MessageKind::kFailed) {
    return absl::InvalidArgumentError("a message of an unknown kind");
  }
  message.round = NumberAt<int32_t>(bytes_, kSizeBytes + 1);
  message.number = NumberAt<int64_t>(bytes_, kSizeBytes + 5);
  message.text = bytes_.substr(kSizeBytes + kFixedBytes, size - kFixedBytes);
  bytes_.erase(0, kSizeBytes + size);
  return message;
}

}  // namespace autodist
