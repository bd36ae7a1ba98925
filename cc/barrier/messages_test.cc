#include "barrier/messages.h"

#include <optional>
#include <string>

#include "core/testing/testing.h"

namespace autodist {
namespace {

TEST(MessagesComeThroughByteByByte) {
  MessageReader reader;
  const std::string bytes = Encode({MessageKind::kLock, 3, -5, "some text"}) +
                            Encode({MessageKind::kGo, 2147483647, int64_t{1} << 62});
  int count = 0;
  for (const char byte : bytes) {
    reader.Add(absl::string_view(&byte, 1));
    const absl::StatusOr<std::optional<Message>> message = reader.Next();
    EXPECT_TRUE(message.ok());
    if (!message.ok() || !message->has_value()) continue;
    const Message& found = **message;
    if (count++ == 0) {
      EXPECT_TRUE(found.kind == MessageKind::kLock && found.round == 3 && found.number == -5);
      EXPECT_EQ(found.text, "some text");
    } else {
      EXPECT_TRUE(found.kind == MessageKind::kGo && found.round == 2147483647);
      EXPECT_EQ(found.number, int64_t{1} << 62);
    }
  }
  EXPECT_EQ(count, 2);
}

TEST(AnyOtherBytesAreRefused) {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(64, '\0'), std::string(64, '\xFF'),
        std::string("\x0D\0\0\0\x63", 5) + std::string(12, '\0')}) {
    MessageReader reader;
    reader.Add(bytes);
    EXPECT_TRUE(absl::IsInvalidArgument(reader.Next().status()));
    EXPECT_TRUE(absl::IsInvalidArgument(reader.Next().status()));
  }
}

TEST(ALongTextIsCut) {
  MessageReader reader;
  reader.Add(Encode({MessageKind::kMissed, 0, 0, std::string(1 << 20, 'a')}));
  const absl::StatusOr<std::optional<Message>> message = reader.Next();
  EXPECT_TRUE(message.ok() && message->has_value());
  EXPECT_TRUE((*message)->text.size() < 5000);
}

TEST(AnErrorKeepsItsCode) {
  const absl::Status status = StatusOf(FailedMessage(1, absl::ResourceExhaustedError("full")));
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(std::string(status.message()), "full");
  EXPECT_TRUE(absl::IsUnknown(StatusOf({MessageKind::kFailed, 0, 0, "?"})));
  EXPECT_TRUE(absl::IsUnknown(StatusOf({MessageKind::kFailed, 0, 99, "?"})));
}

}  // namespace
}  // namespace autodist
