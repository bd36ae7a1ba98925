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
// The division with the least sum of squares is such a division. It is found in rounds. Each round
// goes through all loads and divides each so that its workers become as equal as they can. How far
// that is from the best is known: the workers of some loads must take all that nobody else can
// take.

#ifndef AUTODIST_CORE_PLANNING_BALANCE_H_
#define AUTODIST_CORE_PLANNING_BALANCE_H_

#include <cstdint>
#include <vector>

namespace autodist {

struct Load {
  int64_t size;
  std::vector<int> workers;  // ascending, each once; at least one
};

// What each worker of each load takes, in the order of its `workers`. The busiest has at most 1.01
// times the least possible. Only in long chains of workers, of which each shares loads with the
// next alone, it may have more: there the search ends early. Equal loads give equal results on
// every machine: no floating point is used.
std::vector<std::vector<int64_t>> Balance(const std::vector<Load>& loads, int worker_count);

// The worker of each load, where loads cannot be divided. Each load, in order, goes to that one of
// its workers that has least so far. Of equals it is the one listed first; here `workers` may have
// any order.
std::vector<int> AssignWhole(const std::vector<Load>& loads, int worker_count);

}  // namespace autodist

#endif  // AUTODIST_CORE_PLANNING_BALANCE_H_
