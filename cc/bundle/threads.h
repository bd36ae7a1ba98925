// Runs a function in several threads.

#ifndef AUTODIST_BUNDLE_THREADS_H_
#define AUTODIST_BUNDLE_THREADS_H_

#include <system_error>
#include <thread>
#include <vector>

namespace autodist {

// Calls `work` in this thread and in `count` - 1 others; returns when all are done. If the process
// may start no more threads, fewer do the same work.
template <typename Function>
void RunThreads(int count, const Function& work) {
  std::vector<std::thread> others;
  for (int i = 1; i < count; ++i) {
    try {
      others.emplace_back(work);
    } catch (const std::system_error&) {
      break;
    }
  }
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace autodist

#endif  // AUTODIST_BUNDLE_THREADS_H_
