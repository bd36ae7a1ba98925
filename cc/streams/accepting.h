// Accepts the data connections of the tasks of a save or restore.

#ifndef AUTODIST_STREAMS_ACCEPTING_H_
#define AUTODIST_STREAMS_ACCEPTING_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <set>

#include "absl/status/statusor.h"
#include "sockets/listener.h"
#include "storage/posix/posix_io.h"
#include "streams/handshake.h"

namespace autodist {

// Accepts connections until all tasks of `numbers` have shown that they know the secret, or until
// `until`. Returns the sockets of those that have, one of each. All other connections get a
// greeting, and nothing else; at most 64, and four for each task, are open at a time, for five
// seconds each. Cancelled once `cancelled` is true.
absl::StatusOr<std::map<uint32_t, Descriptor>> AcceptTasks(const Listener& listener,
                                                           const StreamSecret& secret,
                                                           const std::set<uint32_t>& numbers,
                                                           SocketClock::time_point until,
                                                           const std::atomic<bool>& cancelled);

}  // namespace autodist

#endif  // AUTODIST_STREAMS_ACCEPTING_H_
