// Runs a function in several threads.

#ifndef AUTODIST_BUNDLE_THREADS_H_
#define AUTODIST_BUNDLE_THREADS_H_

#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace autodist {

// Calls `work`, which does not throw, in this thread and in `count` - 1 others; returns when all
// are done. If the process may start no more threads, or has no memory for them, fewer do the same
// work.
template <typename Function>
void RunThreads(int count, const Function& work) {
  std::vector<std::thread> others;
  others.reserve(count);
  for (int i = 1; i < count; ++i) {
    try {
      others.emplace_back(work);
    } catch (const std::system_error&) {
      break;
    } catch (const std::bad_alloc&) {
      break;
    }
  }
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace autodist

#endif  // AUTODIST_BUNDLE_THREADS_H_
