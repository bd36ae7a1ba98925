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
                                   std::chrono::milliseconds timeout = std::chrono::seconds(30),
                                   const std::vector<std::string>& hosts = {"127.0.0.1"}) {
  const auto found = ConnectToFirst(hosts, port, After(timeout), kGoes, [&](Descriptor socket) {
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

// What task `number` says on a connection where it has heard `greeting`.
std::string HelloTo(const std::string& greeting, int port, uint32_t number) {
  const std::string nonce(32, 'n');
  const std::string host("\x7f\0\0\1", 4);
  const std::string end = {static_cast<char>(port >> 8), static_cast<char>(port & 0xFF)};
  return nonce + std::string({static_cast<char>(number), 0, 0, 0}) +
         Secret().Proof("hello", greeting.substr(8) + nonce + host + end, number);
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
    hello = HelloTo(ReadRaw(heard, kGreetingSize), listener.port, 1);
    SendRaw(heard, hello);
    // It was right there.
    EXPECT_EQ(ReadRaw(heard, kSha256Bytes).size(), kSha256Bytes);
    accepts.join();
  }
  ExpectTasksGetIn([&](int port) {
    const Descriptor socket = RawConnection(port);
    SendRaw(socket, hello);
    EXPECT_EQ(static_cast<int>(ReadRaw(socket, 1000).size()), static_cast<int>(kGreetingSize));
  });
}

// Somebody listens elsewhere, and passes on what the two sides say.
TEST(ARelayGetsNothing) {
  ExpectTasksGetIn([](int port) {
    const Listener relay = *Listener::Open();
    std::thread passes_on([&] {
      std::optional<Descriptor> socket;
      while (!(socket = relay.Accept())) std::this_thread::yield();
      const Descriptor chief = RawConnection(port);
      SendRaw(*socket, ReadRaw(chief, kGreetingSize));
      SendRaw(chief, ReadRaw(*socket, kHelloSize));
      EXPECT_EQ(ReadRaw(chief, kSha256Bytes), "");
    });
    EXPECT_TRUE(absl::IsUnavailable(Connect(relay.port, 1, Secret()).status()));
    passes_on.join();
  });
}

// A task connects to all addresses of the chief, and keeps the connection that is welcomed.
TEST(ASecondConnectionOfATaskIsNotWelcomed) {
  std::vector<Descriptor> open;
  std::vector<size_t> heard;
  const Listener listener = *Listener::Open();
  absl::StatusOr<std::map<uint32_t, Descriptor>> accepted = absl::UnknownError("not run");
  std::thread accepts([&] {
    accepted = AcceptTasks(listener, Secret(), {1, 2}, After(std::chrono::seconds(60)), kGoes);
  });
  for (int i = 0; i < 2; ++i) {
    open.push_back(RawConnection(listener.port));
    SendRaw(open.back(), HelloTo(ReadRaw(open.back(), kGreetingSize), listener.port, 1));
    heard.push_back(ReadRaw(open.back(), kSha256Bytes).size());
  }
  EXPECT_EQ(heard[0], kSha256Bytes);
  EXPECT_EQ(heard[1], size_t{0});
  EXPECT_TRUE(Connect(listener.port, 2, Secret()).ok());
  accepts.join();
  SendRaw(open[0], "data");
  EXPECT_EQ(ReadRaw(accepted->at(1), 4), "data");
}

TEST(BothSidesKeepTheSameConnection) {
  for (int i = 0; i < 50; ++i) {
    const Listener listener = *Listener::Open();
    absl::StatusOr<std::map<uint32_t, Descriptor>> accepted = absl::UnknownError("not run");
    std::thread accepts([&] {
      accepted = AcceptTasks(listener, Secret(), {1, 2}, After(std::chrono::seconds(60)), kGoes);
    });
    const absl::StatusOr<Descriptor> one =
        Connect(listener.port, 1, Secret(), std::chrono::seconds(30), {"127.0.0.1", "127.0.0.2"});
    EXPECT_TRUE(Connect(listener.port, 2, Secret()).ok());
    accepts.join();
    EXPECT_TRUE(one.ok());
    if (!one.ok()) return;
    SendRaw(*one, "data");
    EXPECT_EQ(ReadRaw(accepted->at(1), 4), "data");
  }
}

// All are connected before the first says who it is.
TEST(ManyTasksAtOnceAreNotTakenForStrangers) {
  const Listener listener = *Listener::Open();
  std::set<uint32_t> numbers;
  for (uint32_t number = 1; number <= 100; ++number) numbers.insert(number);
  absl::StatusOr<std::map<uint32_t, Descriptor>> accepted = absl::UnknownError("not run");
  std::thread accepts([&] {
    accepted = AcceptTasks(listener, Secret(), numbers, After(std::chrono::seconds(20)), kGoes);
  });
  std::vector<std::pair<Descriptor, std::string>> tasks;
  for (size_t i = 0; i < numbers.size(); ++i) {
    Descriptor socket = RawConnection(listener.port);
    std::string greeting = ReadRaw(socket, kGreetingSize);
    tasks.emplace_back(std::move(socket), std::move(greeting));
  }
  uint32_t number = 0;
  for (const auto& [socket, greeting] : tasks) {
    SendRaw(socket, HelloTo(greeting, listener.port, ++number));
  }
  accepts.join();
  EXPECT_TRUE(accepted.ok() && accepted->size() == numbers.size());
}

TEST(ATaskDoesNotTrustWhoeverListens) {
  const Listener impostor = *Listener::Open();
  std::thread plays([&] {
    std::optional<Descriptor> socket;
    while (!(socket = impostor.Accept())) std::this_thread::yield();
    SendRaw(*socket, "adstrm02" + std::string(32, 'n'));
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
