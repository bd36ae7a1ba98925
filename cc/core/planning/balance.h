// Divides loads among workers, where each load can go to some of the workers only.
//
// A load may be divided among its workers in any way. The result is the division in which the
// busiest worker has as little as possible. Example, with three workers:
//
//   size  workers    worker 0   1    2
//   60    0          60
//   40    0, 1                  40
//   80    1, 2                  20   60
//
// The division with the least sum of squares is such a division. Balance() finds it in rounds. Each
// round goes through all loads, and divides each so that its workers become as equal as they can.
// It stops once the busiest worker is close to a lower bound. The bound is of a set of workers:
// they must take all loads that no other worker can take.

#ifndef AUTODIST_CORE_PLANNING_BALANCE_H_
#define AUTODIST_CORE_PLANNING_BALANCE_H_

#include <cstdint>
#include <vector>

namespace autodist {

struct Load {
  int64_t size;
  std::vector<int> workers;  // ascending, each once; at least one
};

// Returns for each load what each of its workers takes, in the order of `workers`. The busiest
// worker has at most 1.01 times the least possible. There is one exception: in a long chain of
// workers, where each shares loads with the next one only, the search ends early and the busiest
// may have more. Equal loads give equal results on every machine, since no floating point is used.
std::vector<std::vector<int64_t>> Balance(const std::vector<Load>& loads, int worker_count);

// Returns one worker for each load, for loads that cannot be divided. Each load, in order, goes to
// the one of its workers that has the least so far. Of several with the least, the first in
// `workers` gets it. Here `workers` may have any order.
std::vector<int> AssignWhole(const std::vector<Load>& loads, int worker_count);

}  // namespace autodist

#endif  // AUTODIST_CORE_PLANNING_BALANCE_H_
