// Tells who waits beside the run that takes an instant that it has been taken.

#ifndef AUTODIST_BARRIER_TAKEN_INSTANTS_H_
#define AUTODIST_BARRIER_TAKEN_INSTANTS_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"
#include "barrier/connection.h"

namespace autodist {

// The instants that coordinators of this process have led to their end. The latest are remembered:
// who asks for one may come late. Thread-safe.
class TakenInstants {
 public:
  static TakenInstants& Get();

  // Notes that all participants of the instant with a token have taken their variables.
  void Note(absl::string_view token);

  // Waits for that, until a point in time at most. False: it has not happened, or is forgotten.
  bool Await(absl::string_view token, BarrierClock::time_point until,
             const std::atomic<bool>& cancelled);

 private:
  std::mutex mutex_;
  std::condition_variable noted_;
  std::deque<std::string> tokens_;
};

}  // namespace autodist

#endif  // AUTODIST_BARRIER_TAKEN_INSTANTS_H_
