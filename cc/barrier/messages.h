// What the tasks of a save of one instant say to each other: docs/design/snapshots.md, "Several
// servers".

#ifndef AUTODIST_BARRIER_MESSAGES_H_
#define AUTODIST_BARRIER_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace autodist {

// Of the messages below. Others are refused.
constexpr int kBarrierVersion = 1;

enum class MessageKind : uint8_t {
  kGreeting = 1,  // the coordinator's; round: the version; text: its half of the token
  kHello,         // the answer; round: the version; number: which participant; text: the other half
  kPrepared,
  kLock,  // number: for how many milliseconds to try
  kLocked,
  kGo,
  kTaken,
  kMissed,  // text: why
  kAgain,   // the round is over, the next begins
  kDone,    // the round was the last: all have taken
  kFailed,  // number: a code of absl::Status; text: its message
};

// "LOCK" and so on.
const char* NameOf(MessageKind kind);

struct Message {
  MessageKind kind;
  int32_t round = 0;
  int64_t number = 0;
  std::string text = {};
};

// The bytes of a message; a text that is too long is cut.
std::string Encode(const Message& message);

Message FailedMessage(int32_t round, const absl::Status& status);
absl::Status StatusOf(const Message& failed);

// Cuts a stream of bytes into messages.
class MessageReader {
 public:
  void Add(absl::string_view bytes) { bytes_.append(bytes.data(), bytes.size()); }

  // The next message if all of it is there. InvalidArgument if the bytes are none; then for ever.
  absl::StatusOr<std::optional<Message>> Next();

 private:
  std::string bytes_;
};

}  // namespace autodist

#endif  // AUTODIST_BARRIER_MESSAGES_H_
