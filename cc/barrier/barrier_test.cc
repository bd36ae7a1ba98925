// Participants and a coordinator over real sockets, and such that misbehave.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "barrier/coordinator.h"
#include "barrier/participant.h"
#include "core/testing/testing.h"

namespace autodist {
namespace {

using std::chrono::milliseconds;

const std::atomic<bool> kNotCancelled{false};
constexpr auto kLongTime = std::chrono::seconds(60);

BarrierToken Token(char fill = 't') {
  return *BarrierToken::Of(std::string(16, 'c') + std::string(16, fill));
}

BarrierClock::time_point In(BarrierClock::duration time) { return BarrierClock::now() + time; }

// Variables whose locks are counted; what a test makes of the steps is in the functions.
class Fake : public Takable {
 public:
  explicit Fake(std::atomic<int>* locked_count) : locked_count_(*locked_count) {}

  absl::Status Prepare() override {
    ++prepared;
    return on_prepare();
  }
  bool LockUntil(BarrierClock::time_point until) override {
    if (!on_lock(until)) return false;
    is_locked = true;
    ++locked_count_;
    return true;
  }
  absl::Status Take() override {
    EXPECT_TRUE(is_locked);
    ++taken;
    return on_take();
  }
  void Unlock() override {
    EXPECT_TRUE(is_locked);
    is_locked = false;
    --locked_count_;
  }
  absl::Status Check() override { return on_check(); }

  std::function<absl::Status()> on_prepare = [] { return absl::OkStatus(); };
  std::function<bool(BarrierClock::time_point)> on_lock = [](BarrierClock::time_point) {
    return true;
  };
  std::function<absl::Status()> on_take = [] { return absl::OkStatus(); };
  std::function<absl::Status()> on_check = [] { return absl::OkStatus(); };
  std::atomic<int> prepared{0};
  std::atomic<int> taken{0};
  std::atomic<bool> is_locked{false};

 private:
  std::atomic<int>& locked_count_;
};

// A save of `count` participants, of which `real` are; tests play the others.
class Barrier {
 public:
  explicit Barrier(int count, int real = -1) {
    for (int i = 0; i < count; ++i) options_.participants.push_back(absl::StrCat("/task:", i));
    options_.deadline = In(kLongTime);
    for (int i = 0; i < (real < 0 ? count : real); ++i) {
      fakes.push_back(std::make_unique<Fake>(&locked_count));
      results.emplace_back(absl::UnknownError("not run"));
    }
  }

  void Run(const std::function<void()>& meanwhile = [] {}) {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < fakes.size(); ++i) {
      threads.emplace_back([this, i] {
        results[i] =
            TakeTogether(ParticipantOf(static_cast<int>(i)), Token(), fakes[i].get(), cancelled);
      });
    }
    std::thread leading([this] { report = Coordinate(listener, options_, Token(), cancelled); });
    meanwhile();
    for (std::thread& each : threads) each.join();
    leading.join();
    EXPECT_EQ(locked_count.load(), 0);
  }

  ParticipantOptions ParticipantOf(int number) const {
    ParticipantOptions options;
    options.hosts = {"127.0.0.1"};
    options.port = listener.port;
    options.coordinator = "/task:0";
    options.number = number;
    options.lease = options_.lease;
    options.deadline = In(kLongTime);
    return options;
  }

  void ExpectAllFail(const std::function<bool(const absl::Status&)>& is_right,
                     absl::string_view text) {
    EXPECT_TRUE(is_right(report.status()));
    EXPECT_TRUE(absl::StrContains(report.status().message(), text));
    for (const absl::StatusOr<int32_t>& result : results) {
      EXPECT_EQ(result.status().ToString(), report.status().ToString());
    }
  }

  Listener listener = *Listener::Open();
  CoordinatorOptions options_;
  std::atomic<int> locked_count{0};
  std::atomic<bool> cancelled{false};
  std::vector<std::unique_ptr<Fake>> fakes;
  std::vector<absl::StatusOr<int32_t>> results;
  absl::StatusOr<BarrierReport> report = absl::UnknownError("not run");
};

Connection ConnectTo(int port) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_TRUE(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return Connection(std::move(socket));
}

// Waits for the next message, which must be of that kind.
Message Expect(Connection* connection, MessageKind kind) {
  const auto message = connection->Await(In(kLongTime), kNotCancelled);
  if (!message.ok() || !message->has_value()) {
    EXPECT_EQ(message.status().ToString(), "a message");
    return {MessageKind::kFailed};
  }
  EXPECT_EQ(std::string(NameOf((*message)->kind)), NameOf(kind));
  return **message;
}

void Say(Connection* connection, const Message& message) {
  EXPECT_TRUE(connection->Send(message).ok());
}

// A participant that a test plays, as far as PREPARED.
Connection JoinAs(int number, const Barrier& barrier) {
  Connection connection = ConnectTo(barrier.listener.port);
  Expect(&connection, MessageKind::kGreeting);
  Say(&connection,
      {MessageKind::kHello, kBarrierVersion, number, std::string(Token().second_half())});
  Say(&connection, {MessageKind::kPrepared, 0});
  return connection;
}

// A coordinator that a test plays, for one participant, as far as LOCK.
class PlayedCoordinator {
 public:
  explicit PlayedCoordinator(milliseconds lease = milliseconds(300)) : fake(&locked_count) {
    options_.hosts = {"127.0.0.1"};
    options_.port = listener_.port;
    options_.coordinator = "/task:7";
    options_.lease = lease;
    options_.deadline = In(kLongTime);
  }
  ~PlayedCoordinator() { Join(); }

  void Start() {
    participant_ =
        std::thread([this] { result = TakeTogether(options_, Token(), &fake, kNotCancelled); });
    std::optional<Descriptor> accepted;
    while (!(accepted = listener_.Accept())) std::this_thread::yield();
    connection.emplace(*std::move(accepted));
    Say(&*connection,
        {MessageKind::kGreeting, kBarrierVersion, 0, std::string(Token().first_half())});
    Expect(&*connection, MessageKind::kHello);
    Expect(&*connection, MessageKind::kPrepared);
    Say(&*connection, {MessageKind::kLock, 0, 1000});
  }

  void Join() {
    if (participant_.joinable()) participant_.join();
    EXPECT_EQ(locked_count.load(), 0);
  }

  ParticipantOptions options_;
  std::atomic<int> locked_count{0};
  Fake fake;
  std::optional<Connection> connection;
  absl::StatusOr<int32_t> result = absl::UnknownError("not run");

 private:
  Listener listener_ = *Listener::Open();
  std::thread participant_;
};

TEST(AllAreLockedWhenOneTakes) {
  for (const int count : {1, 2, 4, 16}) {
    Barrier barrier(count);
    // Nobody lets go before it has taken, so the first that takes sees all locks held.
    std::atomic<int> most{0};
    for (auto& fake : barrier.fakes) {
      fake->on_take = [&] {
        int seen = barrier.locked_count;
        for (int known = most; seen > known && !most.compare_exchange_weak(known, seen);) {
        }
        return absl::OkStatus();
      };
    }
    barrier.Run();
    EXPECT_EQ(barrier.report.status().ToString(), "OK");
    EXPECT_EQ(most.load(), count);
    for (size_t i = 0; i < barrier.fakes.size(); ++i) {
      EXPECT_TRUE(barrier.results[i].ok() && *barrier.results[i] == barrier.report->round);
      EXPECT_TRUE(barrier.fakes[i]->taken >= 1);
    }
  }
}

TEST(ALockThatIsBusyIsTriedAgain) {
  Barrier barrier(3);
  int tries = 0;
  barrier.fakes[1]->on_lock = [&](BarrierClock::time_point) { return ++tries > 3; };
  barrier.Run();
  for (const auto& result : barrier.results) EXPECT_TRUE(result.ok() && *result >= 3);
}

TEST(AnImageThatCannotBeTakenIsTriedAgain) {
  Barrier barrier(3);
  barrier.fakes[2]->on_take = [&] {
    return barrier.fakes[2]->taken < 3 ? absl::FailedPreconditionError("moved") : absl::OkStatus();
  };
  barrier.Run();
  for (const auto& result : barrier.results) EXPECT_TRUE(result.ok() && *result >= 2);
  // What the others took in the rounds before is not used.
  EXPECT_TRUE(barrier.fakes[0]->prepared >= 3);
}

TEST(ALockThatStaysBusyIsAnErrorThatNamesTheTask) {
  Barrier barrier(3);
  barrier.options_.most_rounds = 4;
  barrier.fakes[1]->on_lock = [](BarrierClock::time_point) { return false; };
  barrier.Run();
  barrier.ExpectAllFail([](const absl::Status& s) { return absl::IsFailedPrecondition(s); },
                        "4 tries: /task:1 cannot lock its variables");
}

TEST(WhatCannotBePreparedEndsTheSaveOfAll) {
  Barrier barrier(3);
  barrier.fakes[1]->on_prepare = [] { return absl::ResourceExhaustedError("no memory"); };
  barrier.Run();
  barrier.ExpectAllFail([](const absl::Status& s) { return absl::IsResourceExhausted(s); },
                        "/task:1: no memory");
}

TEST(AVariableWithoutAValueEndsTheSaveOfAll) {
  Barrier barrier(2);
  barrier.fakes[0]->on_check = [] { return absl::FailedPreconditionError("v has no value"); };
  barrier.Run();
  barrier.ExpectAllFail([](const absl::Status& s) { return absl::IsFailedPrecondition(s); },
                        "/task:0: v has no value");
}

TEST(AParticipantThatEndsLetsTheOthersGoAtOnce) {
  for (const bool is_locked : {false, true}) {
    Barrier barrier(3, 2);
    barrier.options_.lease = kLongTime;
    barrier.Run([&] {
      Connection ending = JoinAs(2, barrier);
      Expect(&ending, MessageKind::kLock);
      while (barrier.locked_count < 2) std::this_thread::yield();
      if (is_locked) Say(&ending, {MessageKind::kLocked, 0});
    });
    barrier.ExpectAllFail([](const absl::Status& s) { return absl::IsUnavailable(s); },
                          "/task:2 was lost");
  }
}

TEST(AParticipantThatIsSilentIsNamed) {
  Barrier barrier(3, 2);
  barrier.options_.lease = milliseconds(50);
  barrier.options_.deadline = In(milliseconds(1500));
  std::optional<Connection> silent;
  barrier.Run([&] {
    silent.emplace(JoinAs(2, barrier));
    Expect(&*silent, MessageKind::kLock);
    while (barrier.locked_count < 1) std::this_thread::yield();
    // They let go long before the end.
    while (barrier.locked_count > 0) std::this_thread::yield();
  });
  barrier.ExpectAllFail([](const absl::Status& s) { return absl::IsFailedPrecondition(s); },
                        "/task:2 did not prepare");
}

TEST(AParticipantThatTalksOutOfTurnIsLost) {
  for (const std::string& bytes : {Encode({MessageKind::kTaken, 0}), Encode({MessageKind::kGo, 0}),
                                   Encode({MessageKind::kLocked, 5}), std::string(100, 'x')}) {
    Barrier barrier(2, 1);
    barrier.Run([&] {
      Connection talking = JoinAs(1, barrier);
      Expect(&talking, MessageKind::kLock);
      EXPECT_TRUE(send(talking.descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
      EXPECT_TRUE(absl::IsUnavailable(talking.Await(In(kLongTime), kNotCancelled).status()));
    });
    EXPECT_TRUE(absl::StrContains(barrier.report.status().message(), "/task:1 was lost"));
  }
}

TEST(StrangersAreNotHeard) {
  Barrier barrier(2, 1);
  barrier.Run([&] {
    std::vector<Connection> strangers;
    for (int i = 0; i < 6; ++i) strangers.push_back(ConnectTo(barrier.listener.port));
    for (Connection& each : strangers) Expect(&each, MessageKind::kGreeting);
    Say(&strangers[0],
        {MessageKind::kHello, kBarrierVersion, 1, std::string(Token('x').second_half())});
    Say(&strangers[1], {MessageKind::kHello, kBarrierVersion, 1});
    Say(&strangers[2],
        {MessageKind::kHello, kBarrierVersion, 2, std::string(Token().second_half())});
    Say(&strangers[3],
        {MessageKind::kHello, kBarrierVersion + 1, 1, std::string(Token().second_half())});
    const std::string garbage(5000, '\xAB');
    (void)send(strangers[4].descriptor(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
    for (int i = 0; i < 5; ++i) {
      const auto answer = strangers[i].Await(In(kLongTime), kNotCancelled);
      EXPECT_TRUE(!answer.ok());
    }
    // strangers[5] says nothing, and keeps nobody.
    Fake late(&barrier.locked_count);
    EXPECT_TRUE(TakeTogether(barrier.ParticipantOf(1), Token(), &late, kNotCancelled).ok());
  });
  EXPECT_TRUE(barrier.report.ok());
}

TEST(ANumberIsTakenOnce) {
  Barrier barrier(2, 1);
  barrier.Run([&] {
    Connection first = JoinAs(1, barrier);
    Expect(&first, MessageKind::kLock);
    Connection second = ConnectTo(barrier.listener.port);
    Expect(&second, MessageKind::kGreeting);
    Say(&second, {MessageKind::kHello, kBarrierVersion, 1, std::string(Token().second_half())});
    EXPECT_TRUE(!second.Await(In(kLongTime), kNotCancelled).ok());
    Say(&first, {MessageKind::kMissed, 0, 0, "is not ready"});
    Expect(&first, MessageKind::kAgain);
    Say(&first, {MessageKind::kPrepared, 1});
    Expect(&first, MessageKind::kLock);
    Say(&first, {MessageKind::kLocked, 1});
    Expect(&first, MessageKind::kGo);
    Say(&first, {MessageKind::kTaken, 1});
    Expect(&first, MessageKind::kDone);
  });
  EXPECT_TRUE(barrier.report.ok() && barrier.results[0].ok());
}

TEST(ACancelledRunEndsAll) {
  Barrier barrier(3, 2);
  barrier.Run([&] {
    while (barrier.fakes[0]->prepared == 0) std::this_thread::yield();
    barrier.cancelled = true;
  });
  EXPECT_TRUE(absl::IsCancelled(barrier.report.status()));
  for (const auto& result : barrier.results) EXPECT_TRUE(!result.ok());
}

TEST(ACoordinatorThatEndsFreesTheLocksAtOnce) {
  PlayedCoordinator played(kLongTime);
  played.Start();
  Expect(&*played.connection, MessageKind::kLocked);
  EXPECT_EQ(played.locked_count.load(), 1);
  played.connection.reset();
  played.Join();
  EXPECT_TRUE(absl::IsUnavailable(played.result.status()));
  EXPECT_TRUE(absl::StrContains(played.result.status().message(), "/task:7"));
  EXPECT_EQ(played.fake.taken.load(), 0);
}

TEST(ACoordinatorThatIsSilentIsLeftAtTheLease) {
  PlayedCoordinator played(milliseconds(50));
  played.options_.deadline = In(milliseconds(2000));
  played.Start();
  Expect(&*played.connection, MessageKind::kLocked);
  const Message missed = Expect(&*played.connection, MessageKind::kMissed);
  EXPECT_TRUE(absl::StrContains(missed.text, "lease of 50 ms"));
  EXPECT_EQ(played.locked_count.load(), 0);
  played.Join();
  EXPECT_TRUE(absl::IsFailedPrecondition(played.result.status()));
  EXPECT_EQ(played.fake.taken.load(), 0);
}

TEST(ALateGoIsRefused) {
  PlayedCoordinator played(milliseconds(50));
  played.Start();
  Connection& connection = *played.connection;
  Expect(&connection, MessageKind::kLocked);
  Expect(&connection, MessageKind::kMissed);
  Say(&connection, {MessageKind::kGo, 0});
  Say(&connection, {MessageKind::kAgain, 0});
  Expect(&connection, MessageKind::kPrepared);
  EXPECT_EQ(played.fake.taken.load(), 0);
  Say(&connection, {MessageKind::kLock, 1, 1000});
  Expect(&connection, MessageKind::kLocked);
  // One of a round that is over is none either.
  Say(&connection, {MessageKind::kGo, 0});
  played.Join();
  EXPECT_TRUE(absl::IsInternal(played.result.status()));
  EXPECT_EQ(played.fake.taken.load(), 0);
}

TEST(DoneWithoutTakenIsRefused) {
  PlayedCoordinator played(milliseconds(50));
  played.Start();
  Expect(&*played.connection, MessageKind::kLocked);
  Expect(&*played.connection, MessageKind::kMissed);
  Say(&*played.connection, {MessageKind::kDone, 0});
  played.Join();
  EXPECT_TRUE(absl::IsInternal(played.result.status()));
}

// Somebody else listens at an address of the coordinator's machine, as this machine has it.
TEST(AnImpostorLearnsNothing) {
  Barrier barrier(1, 0);
  const absl::StatusOr<Listener> impostor = Listener::Open();
  ParticipantOptions options = barrier.ParticipantOf(0);
  options.port = impostor->port;
  options.connect_timeout = milliseconds(2000);
  Fake fake(&barrier.locked_count);
  std::thread playing([&] {
    std::optional<Descriptor> socket;
    while (!(socket = impostor->Accept())) std::this_thread::yield();
    Connection accepted(*std::move(socket));
    Say(&accepted, {MessageKind::kGreeting, kBarrierVersion, 0, std::string(16, 'z')});
    const auto heard = accepted.Await(In(kLongTime), kNotCancelled);
    EXPECT_TRUE(absl::IsUnavailable(heard.status()));
  });
  const absl::Status status = TakeTogether(options, Token(), &fake, kNotCancelled).status();
  playing.join();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "127.0.0.1: something else answers there"));
  EXPECT_TRUE(absl::StrContains(status.message(), "Nothing was saved"));
  EXPECT_EQ(fake.prepared.load(), 0);
}

TEST(TheRightOneOfSeveralAddressesIsFound) {
  Barrier barrier(1);
  // Nobody listens on the first; the last is no address.
  ParticipantOptions options = barrier.ParticipantOf(0);
  options.hosts = {"127.0.0.77", "127.0.0.1", "somewhere"};
  barrier.fakes.clear();
  Fake fake(&barrier.locked_count);
  absl::StatusOr<int32_t> result = absl::UnknownError("not run");
  barrier.Run([&] { result = TakeTogether(options, Token(), &fake, kNotCancelled); });
  EXPECT_TRUE(result.ok() && barrier.report.ok());
}

}  // namespace
}  // namespace autodist
