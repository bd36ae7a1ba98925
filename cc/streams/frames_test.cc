// Pieces that travel over a pair of sockets, and peers that go wrong.

#include "streams/frames.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "core/testing/testing.h"
#include "streams/data_connections.h"

namespace autodist {
namespace {

const std::atomic<bool> kRuns{false};

// Two ends of one connection.
struct Pair {
  explicit Pair(std::chrono::seconds patience = std::chrono::seconds(60)) {
    std::array<int, 2> sockets = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()), 0);
    sender = std::make_unique<DataConnection>(Descriptor(sockets[0]), "/task:1", patience);
    receiver = std::make_unique<DataConnection>(Descriptor(sockets[1]), "/task:0", patience);
  }
  std::unique_ptr<DataConnection> sender, receiver;
};

std::string RandomBytes(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

uint32_t CrcOf(absl::string_view bytes) {
  return static_cast<uint32_t>(absl::ComputeCrc32c(bytes));
}

// Sends pieces, every second one as a piece that may change.
absl::Status SendAll(DataConnection* connection, const std::vector<std::string>& pieces,
                     const std::atomic<bool>& cancelled = kRuns) {
  FrameSender sender(connection, cancelled);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string& piece = pieces[i];
    const absl::Status sent =
        sender.Send(static_cast<int64_t>(piece.size()), i % 2 == 0 ? piece.data() : nullptr,
                    [&](int64_t begin, int64_t size, char* out) {
                      std::memcpy(out, piece.data() + begin, static_cast<size_t>(size));
                      return absl::OkStatus();
                    });
    if (!sent.ok()) return sent;
  }
  return sender.Finish();
}

TEST(PiecesOfAnySizeArriveWithTheirSums) {
  std::vector<std::string> pieces;
  unsigned seed = 0;
  for (const size_t size : {0ul, 1ul, 5ul, 4096ul, 262143ul, 262144ul, 262145ul, 0ul, 1000000ul,
                            3ul, 2097152ul, 7ul, 524288ul}) {
    pieces.push_back(RandomBytes(size, ++seed));
  }
  for (int i = 0; i < 5000; ++i) pieces.push_back(RandomBytes(100, ++seed));
  Pair pair;
  std::thread sends([&] { EXPECT_EQ(SendAll(pair.sender.get(), pieces).ToString(), "OK"); });
  std::vector<ReceivedPiece> planned;
  int64_t offset = 77;
  for (const std::string& piece : pieces) {
    planned.push_back({offset, static_cast<int64_t>(piece.size())});
    offset += static_cast<int64_t>(piece.size());
  }
  std::string file(static_cast<size_t>(offset), '\0');
  int writes = 0;
  const auto sums = ReceivePieces(
      pair.receiver.get(), planned,
      [&](int64_t at, absl::string_view bytes) {
        ++writes;
        std::memcpy(file.data() + at, bytes.data(), bytes.size());
        return absl::OkStatus();
      },
      kRuns);
  sends.join();
  EXPECT_TRUE(sums.ok());
  if (!sums.ok()) return;
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ((*sums)[i], CrcOf(pieces[i]));
    EXPECT_TRUE(absl::string_view(file).substr(planned[i].offset, planned[i].size) == pieces[i]);
  }
  EXPECT_TRUE(writes < 50);  // small pieces that lie together are written together
}

TEST(PiecesThatLieApartAreWrittenApart) {
  Pair pair;
  std::thread sends([&] { SendAll(pair.sender.get(), {"ab", "cd", "ef"}).IgnoreError(); });
  std::map<int64_t, std::string> writes;
  const std::vector<ReceivedPiece> planned = {{10, 2}, {12, 2}, {0, 2}};
  const auto sums = ReceivePieces(
      pair.receiver.get(), planned,
      [&](int64_t at, absl::string_view bytes) {
        writes[at] = std::string(bytes);
        return absl::OkStatus();
      },
      kRuns);
  sends.join();
  EXPECT_TRUE(sums.ok());
  EXPECT_TRUE((writes == std::map<int64_t, std::string>{{0, "ef"}, {10, "abcd"}}));
}

const auto kNowhere = [](int64_t, absl::string_view) { return absl::OkStatus(); };

// What a receiver that wants `wanted` bytes makes of a frame with another content.
absl::Status StatusOfFrame(absl::string_view bytes, absl::crc32c_t crc, int64_t wanted) {
  Pair pair;
  EXPECT_EQ(pair.sender->Send(bytes, crc, kRuns).ToString(), "OK");
  pair.sender->End();
  const std::vector<ReceivedPiece> planned = {{0, wanted}};
  return ReceivePieces(pair.receiver.get(), planned, kNowhere, kRuns).status();
}

TEST(DamagedBytesAreRefusedWithTheNameOfTheTask) {
  const absl::Status status = StatusOfFrame("abcd", absl::crc32c_t{CrcOf("abce")}, 4);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "bytes of /task:0 were damaged"));
}

TEST(OtherSizesAreRefused) {
  EXPECT_TRUE(
      absl::IsInvalidArgument(StatusOfFrame("abcdefgh", absl::crc32c_t{CrcOf("abcdefgh")}, 7)));
  EXPECT_TRUE(absl::IsUnavailable(StatusOfFrame("abcd", absl::crc32c_t{CrcOf("abcd")}, 9)));
}

// A socket whose bytes the test writes itself.
TEST(AFrameThatComesTwiceIsRefused) {
  std::array<int, 2> sockets = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()), 0);
  const Descriptor raw(sockets[0]);
  DataConnection receiver(Descriptor(sockets[1]), "/task:1", std::chrono::seconds(60));
  std::string frame = "abcd" + std::string("AFRM") + std::string("\0\0\0\0\4\0\0\0", 8);
  const uint32_t crc = CrcOf("abcd");
  for (int i = 0; i < 4; ++i) frame.push_back(static_cast<char>((crc >> (8 * i)) & 0xFF));
  std::array<char, 4> out;
  for (const bool is_first : {true, false}) {
    EXPECT_EQ(write(raw.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
    const auto received = receiver.Receive(out.data(), 4, kRuns);
    EXPECT_EQ(received.ok(), is_first);
    EXPECT_EQ(absl::IsInvalidArgument(received.status()), !is_first);
  }
}

TEST(BytesOfAFileAreSentWithoutASum) {
  const std::string bytes = RandomBytes(3000000, 5);
  std::FILE* const file = std::tmpfile();
  EXPECT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
  std::fflush(file);
  Pair pair;
  std::thread sends([&] {
    EXPECT_EQ(pair.sender->SendFile(fileno(file), 1000, 2000000, kRuns).ToString(), "OK");
    EXPECT_EQ(pair.sender->Send("abcd", absl::crc32c_t{CrcOf("abcd")}, kRuns).ToString(), "OK");
    const absl::Status status = pair.sender->SendFile(fileno(file), 2999999, 2, kRuns);
    EXPECT_TRUE(absl::IsDataLoss(status));
  });
  std::string out(2000000, '\0');
  const auto received = pair.receiver->Receive(out.data(), 2000000, kRuns);
  EXPECT_TRUE(received.ok() && !received->has_value());
  EXPECT_TRUE(out == bytes.substr(1000, 2000000));
  EXPECT_TRUE(*pair.receiver->Receive(out.data(), 4, kRuns) == absl::crc32c_t{CrcOf("abcd")});
  sends.join();
  std::fclose(file);
}

// The caller reads it, and so finds out what is wrong.
TEST(AFileThatCannotBeSentIsLeftToTheCaller) {
  std::FILE* const file = std::tmpfile();
  EXPECT_EQ(std::fwrite("abcd", 1, 4, file), size_t{4});
  std::fflush(file);
  Pair pair;
  EXPECT_TRUE(absl::IsUnimplemented(pair.sender->SendFile(fileno(file), 4, 4, kRuns)));
  const Descriptor unreadable(open("/dev/null", O_WRONLY | O_CLOEXEC));
  EXPECT_TRUE(absl::IsUnimplemented(pair.sender->SendFile(unreadable.get(), 0, 4, kRuns)));
  EXPECT_TRUE(pair.sender->Send("abcd", absl::crc32c_t{CrcOf("abcd")}, kRuns).ok());
  std::array<char, 4> out;
  EXPECT_TRUE(*pair.receiver->Receive(out.data(), 4, kRuns) == absl::crc32c_t{CrcOf("abcd")});
  std::fclose(file);
}

volatile std::sig_atomic_t pipe_signals = 0;

TEST(APeerThatHasGoneSendsNoSignal) {
  std::FILE* const file = std::tmpfile();
  EXPECT_EQ(std::fwrite("abcd", 1, 4, file), size_t{4});
  std::fflush(file);
  Pair pair;
  pair.receiver.reset();
  const auto before = std::signal(SIGPIPE, [](int) { pipe_signals = 1; });
  EXPECT_TRUE(absl::IsUnavailable(pair.sender->SendFile(fileno(file), 0, 4, kRuns)));
  (void)std::signal(SIGPIPE, before);
  EXPECT_EQ(static_cast<int>(pipe_signals), 0);
  std::fclose(file);
}

TEST(TheKernelAsksForSignsOfLife) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int number = socket.get();
  const DataConnection connection(std::move(socket), "/task:1", std::chrono::seconds(60));
  int is_on = 0, idle = 0;
  socklen_t size = sizeof is_on;
  EXPECT_EQ(getsockopt(number, SOL_SOCKET, SO_KEEPALIVE, &is_on, &size), 0);
  EXPECT_EQ(getsockopt(number, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &size), 0);
  EXPECT_EQ(is_on, 1);
  EXPECT_EQ(idle, 30);
}

TEST(PiecesWithoutASumAreRefused) {
  std::FILE* const file = std::tmpfile();
  EXPECT_EQ(std::fwrite("abcd", 1, 4, file), size_t{4});
  std::fflush(file);
  Pair pair;
  EXPECT_TRUE(pair.sender->SendFile(fileno(file), 0, 4, kRuns).ok());
  const std::vector<ReceivedPiece> planned = {{0, 4}};
  EXPECT_TRUE(
      absl::IsDataLoss(ReceivePieces(pair.receiver.get(), planned, kNowhere, kRuns).status()));
  std::fclose(file);
}

TEST(APeerThatHasGoneIsAnError) {
  Pair pair;
  pair.sender.reset();
  const std::vector<ReceivedPiece> planned = {{0, 10}};
  const absl::Status status = ReceivePieces(pair.receiver.get(), planned, kNowhere, kRuns).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "/task:0"));
  // It does not work again.
  std::array<char, 4> out;
  EXPECT_TRUE(absl::IsFailedPrecondition(pair.receiver->Receive(out.data(), 4, kRuns).status()));
  Pair other;
  other.receiver.reset();
  EXPECT_TRUE(absl::IsUnavailable(SendAll(other.sender.get(), {std::string(1 << 20, 'a')})));
}

TEST(ASilentPeerIsGivenUp) {
  Pair pair(std::chrono::seconds(1));
  std::array<char, 4> out;
  EXPECT_TRUE(absl::IsDeadlineExceeded(pair.receiver->Receive(out.data(), 4, kRuns).status()));
  // The buffers of the socket hold less.
  EXPECT_TRUE(absl::IsDeadlineExceeded(SendAll(pair.sender.get(), {std::string(64 << 20, 'a')})));
}

TEST(ACancelledOrEndedTransferEndsSoon) {
  for (const bool is_cancelled : {true, false}) {
    Pair pair;
    std::atomic<bool> cancelled{false};
    absl::Status status;
    std::thread sends(
        [&] { status = SendAll(pair.sender.get(), {std::string(64 << 20, 'a')}, cancelled); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (is_cancelled) {
      cancelled = true;
    } else {
      pair.sender->End();
    }
    sends.join();
    EXPECT_TRUE(is_cancelled ? absl::IsCancelled(status) : absl::IsFailedPrecondition(status));
  }
}

TEST(AConnectionHasOneUser) {
  Pair pair;
  DataConnections connections;
  connections.Add(3, std::move(pair.sender));
  {
    const auto use = connections.Find(3);
    EXPECT_TRUE(use.ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(connections.Find(3).status()));
  }
  EXPECT_TRUE(connections.Find(3).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(connections.Find(4).status()));
  connections.End();
  EXPECT_TRUE(absl::IsFailedPrecondition(connections.Find(3).status()));
  std::array<char, 4> out;
  EXPECT_TRUE(absl::IsUnavailable(pair.receiver->Receive(out.data(), 4, kRuns).status()));
  connections.Add(5, std::move(pair.receiver));
  EXPECT_TRUE(absl::IsFailedPrecondition(connections.Find(5).status()));
}

}  // namespace
}  // namespace autodist
