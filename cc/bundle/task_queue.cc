// See the header for the idea.

#include "bundle/task_queue.h"

#include <utility>

namespace autodist {

TaskQueue::Work TaskQueue::Next() {
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
    if (next_task_ == tasks_.size()) return work;
    work.kind = Work::Kind::kTask;
    work.task = static_cast<int>(next_task_++);
    is_opening_ = tasks_[work.task].kind == Task::Kind::kBlocks;
    return work;
  }
  return Work();
}

void TaskQueue::Open(OpenUnit* unit) {
  std::lock_guard<std::mutex> lock(mutex_);
  is_opening_ = false;
  open_ = unit;
  changed_.notify_all();
}

bool TaskQueue::TakeBlock(OpenUnit* unit, int64_t* block) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (HasFailed() || unit->next_block == unit->block_count) return false;
  TakeBlockLocked(unit, block);
  return true;
}

void TaskQueue::TakeBlockLocked(OpenUnit* unit, int64_t* block) {
  *block = unit->next_block++;
  ++unit->unfinished_blocks;
  if (unit->next_block == unit->block_count && open_ == unit) open_ = nullptr;
}

void TaskQueue::FinishBlock(OpenUnit* unit) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (--unit->unfinished_blocks == 0) changed_.notify_all();
}

void TaskQueue::Close(OpenUnit* unit) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (open_ == unit) open_ = nullptr;
  changed_.wait(lock, [&] { return unit->unfinished_blocks == 0; });
}

void TaskQueue::Fail(absl::Status status) {
  std::lock_guard<std::mutex> lock(mutex_);
  status_.Update(std::move(status));
  is_opening_ = false;
  changed_.notify_all();
}

absl::Status TaskQueue::status() {
  std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

absl::Status TaskQueue::CheckCancelled() {
  std::lock_guard<std::mutex> lock(mutex_);
  HasFailed();
  return status_;
}

bool TaskQueue::HasFailed() {
  if (status_.ok() && cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) {
    status_ = absl::CancelledError("the save or restore was cancelled");
  }
  return !status_.ok();
}

}  // namespace autodist
