// Runs a function in several threads, of which none can end the process.

#include "threads/run_threads.h"

#include <mutex>
#include <thread>
#include <vector>

#include "threads/guarded.h"

namespace autodist {

absl::Status RunThreads(int count, const std::function<absl::Status(int thread)>& work,
                        const std::function<void(const absl::Status&)>& stop) {
  std::mutex mutex;
  absl::Status first;
  const auto run = [&](int thread) noexcept {
    const absl::Status status = Guarded([&] { return work(thread); });
    if (status.ok()) return;
    stop(status);
    const std::lock_guard<std::mutex> lock(mutex);
    first.Update(status);
  };
  std::vector<std::thread> others;
  // Where it fails there are enough threads: this one is.
  Guarded([&] {
    others.reserve(count - 1);
    for (int i = 1; i < count; ++i) others.emplace_back(run, i);
    return absl::OkStatus();
  }).IgnoreError();
  run(0);
  for (std::thread& other : others) other.join();
  return first;
}

}  // namespace autodist
