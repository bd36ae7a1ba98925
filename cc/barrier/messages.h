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

// The version of the messages below. A peer with another version is refused.
constexpr int kBarrierVersion = 1;

enum class MessageKind : uint8_t {
  // From the coordinator. `round` is the version, and `text` its half of the token.
  kGreeting = 1,
  // The answer. `round` is the version, `number` says which participant, `text` is its half.
  kHello,
  kPrepared,
  kLock,  // `number`: for how many milliseconds to try
  kLocked,
  kGo,
  kTaken,
  kMissed,  // the participant could not take in this round; `text`: why
  kAgain,   // the round is over, and the next begins
  kDone,    // the round was the last: all participants have taken
  kFailed,  // `number`: a code of absl::Status; `text`: its message
};

// "LOCK" and so on.
const char* NameOf(MessageKind kind);

struct Message {
  MessageKind kind;
  int32_t round = 0;
  int64_t number = 0;
  std::string text = {};
};

// Returns the bytes of a message. Truncates its text if that is too long.
std::string Encode(const Message& message);

Message FailedMessage(int32_t round, const absl::Status& status);
absl::Status StatusOf(const Message& failed);

// Cuts a stream of bytes into messages.
class MessageReader {
 public:
  void Add(absl::string_view bytes) { bytes_.append(bytes.data(), bytes.size()); }

  // Returns the next message, or nullopt if some of it has not arrived. InvalidArgument if the
  // bytes are no message; then all later calls return that, too.
  absl::StatusOr<std::optional<Message>> Next();

 private:
  std::string bytes_;
};

}  // namespace autodist

#endif  // AUTODIST_BARRIER_MESSAGES_H_
