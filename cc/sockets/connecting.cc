// Connects to a task that may be reached at one of several addresses.

#include "sockets/connecting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace autodist {
namespace {

using MakeCandidate = std::function<std::unique_ptr<Candidate>(Descriptor)>;

// One attempt to connect: to one address.
struct Try {
  std::string host;
  std::unique_ptr<Candidate> candidate = nullptr;
  bool is_connected = false;
  std::string failure = {};
};

Try Begin(const std::string& host, int port, const MakeCandidate& make) {
  Try one = {host};
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    one.failure = "no IPv4 address";
  } else if (socket.get() < 0 ||
             (connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
              errno != EINPROGRESS)) {
    one.failure = std::strerror(errno);
  } else {
    one.candidate = make(std::move(socket));
  }
  return one;
}

void End(Try* one, std::string why) {
  one->candidate.reset();
  one->failure = std::move(why);
}

void NoteProgress(Try* one) {
  if (one->is_connected) return;
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(one->candidate->descriptor(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    error = errno;
  }
  if (error != 0) {
    End(one, std::strerror(error));
  } else {
    one->is_connected = true;
  }
}

// Whether the task has proved itself there. Ends the attempt if something else answers.
bool IsProved(Try* one) {
  const absl::StatusOr<bool> proved = one->candidate->Hear();
  if (!proved.ok()) End(one, std::string(proved.status().message()));
  return proved.ok() && *proved;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Candidate>> ConnectToFirst(const std::vector<std::string>& hosts,
                                                          int port, SocketClock::time_point until,
                                                          const std::atomic<bool>& cancelled,
                                                          const MakeCandidate& make) {
  std::vector<Try> tries;
  for (const std::string& host : hosts) tries.push_back(Begin(host, port, make));
  while (SocketClock::now() < until) {
    if (cancelled) return absl::CancelledError("the run of the save was cancelled");
    std::vector<pollfd> waited;
    std::vector<Try*> open;
    for (Try& one : tries) {
      if (one.candidate == nullptr) continue;
      const short wanted = one.is_connected ? POLLIN : POLLOUT;
      waited.push_back({one.candidate->descriptor(), wanted, 0});
      open.push_back(&one);
    }
    if (open.empty()) break;
    if (poll(waited.data(), waited.size(), PollMilliseconds(until)) <= 0) continue;
    for (size_t i = 0; i < open.size(); ++i) {
      if (waited[i].revents == 0) continue;
      Try* const one = open[i];
      NoteProgress(one);
      if (one->candidate == nullptr || !one->is_connected || !IsProved(one)) continue;
      return std::move(one->candidate);
    }
  }
  return absl::UnavailableError(absl::StrJoin(tries, "; ", [](std::string* text, const Try& one) {
    absl::StrAppend(text, one.host, ": ", one.failure.empty() ? "no answer" : one.failure);
  }));
}

}  // namespace autodist
