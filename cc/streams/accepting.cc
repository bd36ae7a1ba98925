// Accepts the data connections of the tasks of a save or restore.

#include "streams/accepting.h"

#include <poll.h>

#include <chrono>
#include <list>
#include <optional>
#include <utility>
#include <vector>

namespace autodist {
namespace {

constexpr auto kHelloTimeout = std::chrono::seconds(5);
constexpr size_t kMostStrangers = 64;
// A task connects to all addresses of this machine.
constexpr size_t kConnectionsOfATask = 4;

// A peer that has connected, and has not shown yet that it knows the secret.
struct StreamStranger {
  ListeningSide side;
  SocketClock::time_point until;
};

// How many connections are accepted before those that were accepted earlier are heard again. So
// many strangers that connect at once do not keep a task waiting.
constexpr int kMostAtOnce = 16;

void AcceptWaiting(const Listener& listener, const StreamSecret& secret, size_t most,
                   std::list<StreamStranger>* strangers) {
  for (int i = 0; i < kMostAtOnce; ++i) {
    std::optional<Descriptor> socket = listener.Accept();
    if (!socket) return;
    absl::StatusOr<ListeningSide> side = ListeningSide::Begin(*std::move(socket), secret);
    if (!side.ok()) continue;
    // A task answers at once. So the one that has been silent for longest is none.
    if (strangers->size() >= most) strangers->pop_front();
    strangers->push_back({*std::move(side), SocketClock::now() + kHelloTimeout});
  }
}

}  // namespace

absl::StatusOr<std::map<uint32_t, Descriptor>> AcceptTasks(const Listener& listener,
                                                           const StreamSecret& secret,
                                                           const std::set<uint32_t>& numbers,
                                                           SocketClock::time_point until,
                                                           const std::atomic<bool>& cancelled) {
  std::map<uint32_t, Descriptor> accepted;
  std::list<StreamStranger> strangers;
  const size_t most = kMostStrangers + kConnectionsOfATask * numbers.size();
  while (accepted.size() < numbers.size() && SocketClock::now() < until) {
    if (cancelled) return absl::CancelledError("the run of the save was cancelled");
    std::vector<pollfd> waited = {{listener.socket.get(), POLLIN, 0}};
    for (const StreamStranger& each : strangers) {
      waited.push_back({each.side.descriptor(), POLLIN, 0});
    }
    (void)poll(waited.data(), waited.size(), PollMilliseconds(until));
    AcceptWaiting(listener, secret, most, &strangers);
    for (auto it = strangers.begin(); it != strangers.end();) {
      const absl::StatusOr<bool> is_known = it->side.Hear();
      if (is_known.ok() && !*is_known && SocketClock::now() < it->until) {
        ++it;
        continue;
      }
      // A task has one connection, and uses the one that is welcomed.
      if (is_known.ok() && *is_known && numbers.count(it->side.number()) > 0 &&
          accepted.count(it->side.number()) == 0 && it->side.Welcome().ok()) {
        accepted.emplace(it->side.number(), it->side.TakeSocket());
      }
      it = strangers.erase(it);
    }
  }
  return accepted;
}

}  // namespace autodist
