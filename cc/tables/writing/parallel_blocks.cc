// Work that is cut into blocks, done by several threads.

#include "tables/writing/parallel_blocks.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace autodist {
namespace {

std::unique_ptr<char[]> NewBuffer(int64_t size_bytes) {
  return std::unique_ptr<char[]>(new (std::nothrow) char[size_bytes]);
}

}  // namespace

Outcome ForEachBlock(int64_t count, int threads, int64_t buffer_bytes,
                     const std::function<Outcome(int64_t block, char* buffer)>& work) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  Outcome first_problem = Outcome::Good();
  const auto run = [&](char* buffer) {
    for (int64_t block = next++; block < count; block = next++) {
      Outcome outcome = Outcome::Good();
      try {
        outcome = work(block, buffer);
      } catch (const std::bad_alloc&) {
        outcome = Outcome::NoMemory("no memory for a block");
      }
      if (outcome.is_good()) continue;
      next = count;
      const std::lock_guard<std::mutex> lock(mutex);
      if (first_problem.is_good()) first_problem = outcome;
    }
  };

  const std::unique_ptr<char[]> own_buffer = NewBuffer(buffer_bytes);
  if (own_buffer == nullptr) return Outcome::NoMemory("no memory for a block");
  std::vector<std::unique_ptr<char[]>> buffers;
  std::vector<std::thread> others;
  try {
    for (int64_t i = 1; i < threads && i < count; ++i) {
      buffers.push_back(NewBuffer(buffer_bytes));
      if (buffers.back() == nullptr) break;
      others.emplace_back(run, buffers.back().get());
    }
  } catch (const std::system_error&) {
    // No more threads.
  } catch (const std::bad_alloc&) {
    // No more memory; those that run do the work.
  }
  run(own_buffer.get());
  for (std::thread& other : others) other.join();
  return first_problem;
}

}  // namespace autodist
