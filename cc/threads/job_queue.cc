// Hands the jobs of a save or a restore to its threads. The header tells how.

#include "threads/job_queue.h"

#include <utility>

namespace autodist {

JobQueue::Work JobQueue::Next() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!HasFailed()) {
    Work work;
    if (open_ != nullptr) {
      work.kind = Work::Kind::kBlock;
      work.unit = open_;
      TakeBlockLocked(open_, &work.block);
      return work;
    }
    if (is_opening_) {
      changed_.wait(lock);
      continue;
    }
    if (next_job_ == jobs_.size()) return work;
    work.kind = Work::Kind::kJob;
    work.job = static_cast<int>(next_job_++);
    is_opening_ = jobs_[work.job].kind == Job::Kind::kBlocks;
    return work;
  }
  return Work();
}

void JobQueue::Open(OpenUnit* unit) {
  std::lock_guard<std::mutex> lock(mutex_);
  is_opening_ = false;
  open_ = unit;
  changed_.notify_all();
}

bool JobQueue::TakeBlock(OpenUnit* unit, int64_t* block) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (HasFailed() || unit->next_block == unit->block_count) return false;
  TakeBlockLocked(unit, block);
  return true;
}

void JobQueue::TakeBlockLocked(OpenUnit* unit, int64_t* block) {
  *block = unit->next_block++;
  ++unit->unfinished_blocks;
  if (unit->next_block == unit->block_count && open_ == unit) open_ = nullptr;
}

void JobQueue::FinishBlock(OpenUnit* unit) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (--unit->unfinished_blocks == 0) changed_.notify_all();
}

void JobQueue::Close(OpenUnit* unit) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (open_ == unit) open_ = nullptr;
  changed_.wait(lock, [&] { return unit->unfinished_blocks == 0; });
}

void JobQueue::Fail(absl::Status status) {
  std::lock_guard<std::mutex> lock(mutex_);
  status_.Update(std::move(status));
  is_opening_ = false;
  changed_.notify_all();
}

absl::Status JobQueue::status() {
  std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

absl::Status JobQueue::CheckCancelled() {
  std::lock_guard<std::mutex> lock(mutex_);
  HasFailed();
  return status_;
}

bool JobQueue::HasFailed() {
  if (status_.ok() && cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) {
    status_ = absl::CancelledError("the save or restore was cancelled");
  }
  return !status_.ok();
}

}  // namespace autodist
