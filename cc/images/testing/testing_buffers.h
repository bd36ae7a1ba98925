// Memory as variables have it, and threads that write to it, for tests of images.

#ifndef AUTODIST_IMAGES_TESTING_TESTING_BUFFERS_H_
#define AUTODIST_IMAGES_TESTING_TESTING_BUFFERS_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "images/memory_image.h"

namespace autodist::testing {

// Large and small buffers anywhere in the heap.
class Buffers {
 public:
  explicit Buffers(std::vector<int64_t> sizes, int shift = 64) {
    for (const int64_t size : sizes) {
      owned_.emplace_back(new char[size + shift]);
      ranges_.push_back({owned_.back().get() + shift, size});
    }
  }

  const std::vector<MemoryRange>& ranges() const { return ranges_; }

  void Fill(uint32_t seed) {
    std::mt19937 random(seed);
    for (const MemoryRange& range : ranges_) {
      for (int64_t i = 0; i < range.size; i += 4) {
        const uint32_t word = random();
        std::memcpy(range.begin + i, &word,
                    static_cast<size_t>(std::min<int64_t>(4, range.size - i)));
      }
    }
  }

  std::vector<std::string> Contents() const {
    std::vector<std::string> contents;
    for (const MemoryRange& range : ranges_) {
      contents.emplace_back(range.begin, static_cast<size_t>(range.size));
    }
    return contents;
  }

 private:
  std::vector<std::unique_ptr<char[]>> owned_;
  std::vector<MemoryRange> ranges_;
};

// Reads all of the image in pieces, like the threads of a save, and releases them.
inline absl::Status ReadAll(MemoryImage* image, const std::vector<MemoryRange>& ranges,
                            int64_t piece, std::vector<std::string>* contents) {
  contents->clear();
  for (const MemoryRange& range : ranges) {
    std::string& whole = contents->emplace_back(static_cast<size_t>(range.size), '?');
    for (int64_t at = 0; at < range.size; at += piece) {
      const int64_t size = std::min(piece, range.size - at);
      absl::Status status = image->Read(range.begin + at, size, &whole[static_cast<size_t>(at)]);
      if (!status.ok()) return status;
      image->Release(range.begin + at, size);
    }
  }
  return absl::OkStatus();
}

// Threads that overwrite everything, one byte at a time in any order, until this object ends.
class Writers {
 public:
  // `begins`: at once, or when Begin() is called.
  explicit Writers(const Buffers& buffers, bool begins = true) : has_begun_(begins) {
    for (int i = 0; i < 2; ++i) {
      threads_.emplace_back([this, &buffers, i] {
        std::mt19937 random(static_cast<uint32_t>(i) + 1);
        while (!ends_ && !has_begun_) Pause();
        while (!ends_) {
          const MemoryRange& range = buffers.ranges()[random() % buffers.ranges().size()];
          if (range.size == 0) continue;
          for (int k = 0; k < 100; ++k) range.begin[random() % range.size] += 1;
          ++rounds_[i];
        }
      });
    }
  }
  ~Writers() {
    ends_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  void Begin() { has_begun_ = true; }

  // Waits until each of them has gone on so often. False if they do not.
  bool Await(int64_t rounds = 300) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (std::atomic<int64_t>& each : rounds_) {
      const int64_t wanted = each + rounds;
      while (each < wanted) {
        if (std::chrono::steady_clock::now() > until) return false;
        Pause();
      }
    }
    return true;
  }

 private:
  static void Pause() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

  std::atomic<bool> has_begun_;
  std::atomic<bool> ends_{false};
  std::atomic<int64_t> rounds_[2] = {};
  std::vector<std::thread> threads_;
};

}  // namespace autodist::testing

#endif  // AUTODIST_IMAGES_TESTING_TESTING_BUFFERS_H_
