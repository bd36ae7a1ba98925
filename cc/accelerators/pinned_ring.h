// A few blocks of host memory that a device copies to and from without help of a processor: the
// memory of its driver, which CUDA calls pinned.

#ifndef AUTODIST_ACCELERATORS_PINNED_RING_H_
#define AUTODIST_ACCELERATORS_PINNED_RING_H_

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Thread-safe. A thread that waits for a block holds none.
class PinnedRing {
 public:
  // A block each for four threads, and as many that are on their way meanwhile.
  static constexpr int kMostBlocks = 8;
  // Those that TryTake() leaves. They come back soon, so Take() always ends.
  static constexpr int kLeft = 2;

  explicit PinnedRing(tensorflow::Allocator* allocator) : allocator_(*allocator) {}
  PinnedRing(const PinnedRing&) = delete;
  PinnedRing& operator=(const PinnedRing&) = delete;

  // A tensor of kBlockBytes bytes, to be given back after one copy. Waits until there is one.
  // ResourceExhausted if there is no memory for a single one.
  absl::StatusOr<tensorflow::Tensor> Take();

  // The same, for a block that is kept for long. None if fewer than kLeft would be left, or if a
  // thread waits for one.
  std::optional<tensorflow::Tensor> TryTake();

  // Gives back a block. REQUIRES: nobody else refers to its memory.
  void GiveBack(tensorflow::Tensor block);

 private:
  // REQUIRES: mutex_ is held. Nothing if there is none now.
  std::optional<tensorflow::Tensor> Next();

  tensorflow::Allocator& allocator_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<tensorflow::Tensor> free_;
  int blocks_ = 0;  // that exist
  int most_ = kMostBlocks;
  int waiting_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_ACCELERATORS_PINNED_RING_H_
