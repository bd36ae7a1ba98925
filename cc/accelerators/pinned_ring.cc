#include "accelerators/pinned_ring.h"

#include <utility>

#include "threads/block.h"

namespace autodist {

using tensorflow::Tensor;

std::optional<Tensor> PinnedRing::Next() {
  if (!free_.empty()) {
    Tensor block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  if (blocks_ >= most_) return std::nullopt;
  Tensor block(&allocator_, tensorflow::DT_UINT8, tensorflow::TensorShape({kBlockBytes}));
  if (!block.IsInitialized()) {
    // With those there are the work is done, too.
    most_ = blocks_;
    return std::nullopt;
  }
  free_.reserve(kMostBlocks);
  ++blocks_;
  return block;
}

absl::StatusOr<Tensor> PinnedRing::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  ++waiting_;
  std::optional<Tensor> block;
  given_back_.wait(lock, [&] {
    block = Next();
    return block.has_value() || most_ == 0;
  });
  --waiting_;
  if (block.has_value()) return *std::move(block);
  return absl::ResourceExhaustedError("no host memory that the device can copy to and from");
}

std::optional<Tensor> PinnedRing::TryTake() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int used = blocks_ - static_cast<int>(free_.size());
  if (waiting_ > 0 || used + kLeft >= most_) return std::nullopt;
  return Next();
}

void PinnedRing::GiveBack(Tensor block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(std::move(block));
  given_back_.notify_one();
}

}  // namespace autodist
