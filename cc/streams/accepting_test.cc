// Tasks that connect over loopback, beside strangers who try what they can.

#include "streams/accepting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "core/testing/testing.h"
#include "streams/sha256.h"

namespace autodist {
namespace {

const std::atomic<bool> kGoes{false};
constexpr size_t kGreetingSize = 40, kHelloSize = 68;

SocketClock::time_point After(std::chrono::milliseconds time) { return SocketClock::now() + time; }

StreamSecret Secret(char fill = 's') { return *StreamSecret::Of(std::string(32, fill)); }

absl::StatusOr<Descriptor> Connect(int port, uint32_t number, const StreamSecret& secret,
                                   std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
  const auto found =
      ConnectToFirst({"127.0.0.1"}, port, After(timeout), kGoes, [&](Descriptor socket) {
        return std::make_unique<ConnectingSide>(std::move(socket), secret, number);
      });
  if (!found.ok()) return found.status();
  return static_cast<ConnectingSide*>(found->get())->TakeSocket();
}

Descriptor RawConnection(int port) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  EXPECT_EQ(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

void SendRaw(const Descriptor& socket, const std::string& bytes) {
  (void)send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// All that comes until the other side ends the connection, or `size` bytes.
std::string ReadRaw(const Descriptor& socket, size_t size) {
  std::string all;
  std::array<char, 256> bytes;
  while (all.size() < size) {
    pollfd waited = {socket.get(), POLLIN, 0};
    if (poll(&waited, 1, 20000) <= 0) break;
    const ssize_t got =
        recv(socket.get(), bytes.data(), std::min(bytes.size(), size - all.size()), 0);
    if (got <= 0) break;
    all.append(bytes.data(), static_cast<size_t>(got));
  }
  return all;
}

// Accepts tasks 1 and 2, which connect after strangers have done what they do.
void ExpectTasksGetIn(const std::function<void(int port)>& strangers) {
  const Listener listener = *Listener::Open();
  absl::StatusOr<std::map<uint32_t, Descriptor>> accepted = absl::UnknownError("not run");
  std::thread accepts([&] {
    accepted = AcceptTasks(listener, Secret(), {1, 2}, After(std::chrono::seconds(60)), kGoes);
  });
  strangers(listener.port);
  const absl::StatusOr<Descriptor> one = Connect(listener.port, 1, Secret());
  const absl::StatusOr<Descriptor> two = Connect(listener.port, 2, Secret());
  accepts.join();
  EXPECT_TRUE(one.ok() && two.ok() && accepted.ok());
  if (!accepted.ok() || !one.ok()) return;
  EXPECT_EQ(static_cast<int>(accepted->size()), 2);
  SendRaw(*one, "data");
  EXPECT_EQ(ReadRaw(accepted->at(1), 4), "data");
}

TEST(TasksThatKnowTheSecretGetIn) {
  ExpectTasksGetIn([](int) {});
}

TEST(StrangersGetAGreetingAndNothingElse) {
  ExpectTasksGetIn([](int port) {
    for (const std::string& nonsense :
         {std::string("GET / HTTP/1.1\r\nHost: a\r\n\r\n") + std::string(100, 'x'),
          std::string(kHelloSize, '\0'), std::string(kHelloSize, '\xff'),
          std::string(100000, 'a')}) {
      const Descriptor socket = RawConnection(port);
      SendRaw(socket, nonsense);
      EXPECT_TRUE(ReadRaw(socket, 1000).size() <= kGreetingSize);
    }
  });
}

TEST(StrangersWhoSayHalfDisturbNothing) {
  std::vector<Descriptor> open;
  ExpectTasksGetIn([&](int port) {
    for (int i = 0; i < 20; ++i) {
      open.push_back(RawConnection(port));
      SendRaw(open.back(), std::string(kHelloSize / 2, 'a'));
    }
  });
}

TEST(AThousandConnectionsDisturbNothing) {
  std::vector<Descriptor> open;
  ExpectTasksGetIn([&](int port) {
    for (int i = 0; i < 1000; ++i) open.push_back(RawConnection(port));
  });
}

TEST(AWrongSecretGetsNothing) {
  ExpectTasksGetIn([](int port) {
    const absl::Status status = Connect(port, 1, Secret('t')).status();
    EXPECT_TRUE(absl::IsUnavailable(status));
  });
}

// Somebody heard all that a task said, and says it on a connection of his own.
TEST(AReplayGetsNothing) {
  std::string hello;
  {
    const Listener listener = *Listener::Open();
    std::thread accepts([&] {
      EXPECT_TRUE(
          AcceptTasks(listener, Secret(), {1}, After(std::chrono::seconds(60)), kGoes).ok());
    });
    const Descriptor heard = RawConnection(listener.port);
    const std::string greeting = ReadRaw(heard, kGreetingSize);
    const std::string own(32, 'n');
    const std::string number("\1\0\0\0", 4);
    hello = own + number + Secret().Proof("hello", greeting.substr(8) + own, 1);
    SendRaw(heard, hello);
    // It was right there.
    EXPECT_EQ(ReadRaw(heard, kSha256Bytes), Secret().Proof("welcome", greeting.substr(8) + own, 1));
    accepts.join();
  }
  ExpectTasksGetIn([&](int port) {
    const Descriptor socket = RawConnection(port);
    SendRaw(socket, hello);
    EXPECT_EQ(static_cast<int>(ReadRaw(socket, 1000).size()), static_cast<int>(kGreetingSize));
  });
}

TEST(ATaskDoesNotTrustWhoeverListens) {
  const Listener impostor = *Listener::Open();
  std::thread plays([&] {
    std::optional<Descriptor> socket;
    while (!(socket = impostor.Accept())) std::this_thread::yield();
    SendRaw(*socket, "adstrm01" + std::string(32, 'n'));
    const std::string hello = ReadRaw(*socket, kHelloSize);
    // It sends the task's proof back.
    SendRaw(*socket, hello.substr(36));
    EXPECT_EQ(ReadRaw(*socket, 1), "");
  });
  const absl::Status status = Connect(impostor.port, 1, Secret()).status();
  plays.join();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "127.0.0.1: something else answers there"));
}

TEST(TasksThatAreNotAwaitedAreNotAccepted) {
  const Listener listener = *Listener::Open();
  std::thread connects([&] { Connect(listener.port, 7, Secret()).status().IgnoreError(); });
  const auto accepted =
      AcceptTasks(listener, Secret(), {1}, After(std::chrono::milliseconds(500)), kGoes);
  connects.join();
  EXPECT_TRUE(accepted.ok() && accepted->empty());
}

TEST(WaitingEndsWithItsTimeOrWhenItIsCancelled) {
  const Listener listener = *Listener::Open();
  EXPECT_TRUE(
      AcceptTasks(listener, Secret(), {1}, After(std::chrono::milliseconds(1)), kGoes)->empty());
  std::atomic<bool> cancelled{false};
  std::thread waits([&] {
    EXPECT_TRUE(absl::IsCancelled(
        AcceptTasks(listener, Secret(), {1}, After(std::chrono::hours(1)), cancelled).status()));
  });
  cancelled = true;
  waits.join();
  EXPECT_TRUE(absl::IsUnavailable(
      Connect(listener.port, 1, Secret(), std::chrono::milliseconds(200)).status()));
}

}  // namespace
}  // namespace autodist
