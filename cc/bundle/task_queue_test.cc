#include "bundle/task_queue.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "core/testing.h"

namespace autodist {
namespace {

// A save without values: `units[i]` blocks of unit i, and what happens to each. The threads do what
// those of the writer do.
class Drill {
 public:
  // One task per number: 0 for a batch, else the blocks of a large unit.
  explicit Drill(const std::vector<int>& blocks, const std::atomic<bool>* cancelled = nullptr)
      : tasks_(MakeTasks(blocks)),
        batches_done_(blocks.size()),
        blocks_done_(blocks.size()),
        active_(blocks.size()),
        queue_(&tasks_, cancelled) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      block_counts_.push_back(blocks[i]);
      blocks_done_[i] = std::vector<std::atomic<int>>(blocks[i]);
    }
  }

  absl::Status Run(int thread_count) {
    std::vector<std::thread> threads;
    for (int i = 0; i < thread_count; ++i) {
      threads.emplace_back([this] { Work(); });
    }
    for (std::thread& thread : threads) thread.join();
    return queue_.status();
  }

  // Called with the task when its owner opens it, and with the task and block when one is written.
  std::function<absl::Status(int)> on_task = [](int) { return absl::OkStatus(); };
  std::function<absl::Status(int, int64_t)> on_block = [](int, int64_t) {
    return absl::OkStatus();
  };

  // How often every batch and every block was done, if equally often; -1 if not.
  int TimesDone() const {
    int least = 1 << 30;
    int most = 0;
    const auto count = [&](int times) {
      least = std::min(least, times);
      most = std::max(most, times);
    };
    for (size_t i = 0; i < block_counts_.size(); ++i) {
      if (block_counts_[i] == 0) count(batches_done_[i]);
      for (const std::atomic<int>& times : blocks_done_[i]) count(times);
    }
    return least == most ? most : -1;
  }

  // The largest number of times that anything was done.
  int MostDone() const {
    int most = 0;
    for (size_t i = 0; i < block_counts_.size(); ++i) {
      most = std::max<int>(most, batches_done_[i]);
      for (const std::atomic<int>& times : blocks_done_[i]) most = std::max<int>(most, times);
    }
    return most;
  }

  // Blocks that were being written when their unit's owner thought that none were.
  int late_blocks() const { return late_blocks_; }
  TaskQueue& queue() { return queue_; }

 private:
  static std::vector<Task> MakeTasks(const std::vector<int>& blocks) {
    std::vector<Task> tasks;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const int first = static_cast<int>(i);
      const Task::Kind kind = blocks[i] == 0 ? Task::Kind::kBatch : Task::Kind::kBlocks;
      tasks.push_back({kind, first, first + 1, 0, 0});
    }
    return tasks;
  }

  void Work() {
    while (true) {
      const TaskQueue::Work work = queue_.Next();
      if (work.kind == TaskQueue::Work::Kind::kNone) return;
      absl::Status status = work.kind == TaskQueue::Work::Kind::kBlock
                                ? DoBlock(work.unit, work.block)
                                : DoTask(work.task);
      if (!status.ok()) queue_.Fail(std::move(status));
    }
  }

  absl::Status DoTask(int task) {
    absl::Status status = on_task(task);
    if (!status.ok()) return status;
    if (block_counts_[task] == 0) {
      ++batches_done_[task];
      return status;
    }
    OpenUnit open{task, block_counts_[task]};
    queue_.Open(&open);
    int64_t block;
    while (status.ok() && queue_.TakeBlock(&open, &block)) status = DoBlock(&open, block);
    if (!status.ok()) queue_.Fail(status);
    queue_.Close(&open);
    late_blocks_ += active_[task];
    return status;
  }

  absl::Status DoBlock(OpenUnit* unit, int64_t block) {
    ++active_[unit->unit];
    absl::Status status = on_block(unit->unit, block);
    ++blocks_done_[unit->unit][block];
    --active_[unit->unit];
    queue_.FinishBlock(unit);
    return status;
  }

  const std::vector<Task> tasks_;
  std::vector<int> block_counts_;
  std::vector<std::atomic<int>> batches_done_;
  std::vector<std::vector<std::atomic<int>>> blocks_done_;
  std::vector<std::atomic<int>> active_;  // threads at work on a block, by unit
  std::atomic<int> late_blocks_{0};
  TaskQueue queue_;
};

std::vector<int> RandomTasks(std::mt19937* random) {
  std::vector<int> blocks((*random)() % 40);
  for (int& count : blocks) {
    const uint32_t draw = (*random)() % 4;
    count = draw == 0 ? 0 : draw == 1 ? 2 : static_cast<int>((*random)() % 30);
  }
  return blocks;
}

TEST(EveryTaskAndEveryBlockIsDoneOnce) {
  std::mt19937 random(11);
  for (int i = 0; i < 200; ++i) {
    std::vector<int> blocks = RandomTasks(&random);
    blocks.push_back(3);
    Drill drill(blocks);
    EXPECT_TRUE(drill.Run(1 + static_cast<int>(random() % 5)).ok());
    EXPECT_EQ(drill.TimesDone(), 1);
    EXPECT_EQ(drill.late_blocks(), 0);
  }
}

TEST(NothingToDoIsDone) {
  Drill drill({});
  EXPECT_TRUE(drill.Run(3).ok());
}

TEST(AllThreadsShareTheBlocksOfAUnit) {
  // The first two blocks are done only once both are being done.
  Drill drill({2});
  std::atomic<int> arrived{0};
  drill.on_block = [&](int, int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    return absl::OkStatus();
  };
  EXPECT_TRUE(drill.Run(2).ok());
  EXPECT_EQ(drill.TimesDone(), 1);
}

TEST(AFailureAnywhereEndsTheSaveWithItsStatus) {
  std::mt19937 random(12);
  for (int i = 0; i < 200; ++i) {
    std::vector<int> blocks = RandomTasks(&random);
    blocks.insert(blocks.begin() + random() % (blocks.size() + 1), 8);
    Drill drill(blocks);
    const int bad = static_cast<int>(random() % blocks.size());
    const bool fails_at_once = blocks[bad] == 0 || random() % 2 == 0;
    const int64_t bad_block = fails_at_once ? 0 : random() % blocks[bad];
    drill.on_task = [&](int task) {
      return fails_at_once && task == bad ? absl::DataLossError("task") : absl::OkStatus();
    };
    drill.on_block = [&](int task, int64_t block) {
      return !fails_at_once && task == bad && block == bad_block ? absl::DataLossError("block")
                                                                 : absl::OkStatus();
    };
    const absl::Status status = drill.Run(1 + static_cast<int>(random() % 4));
    EXPECT_EQ(status.message(), fails_at_once ? "task" : "block");
    EXPECT_TRUE(drill.MostDone() <= 1);
    EXPECT_EQ(drill.late_blocks(), 0);
  }
}

TEST(OfSeveralFailuresTheFirstIsKept) {
  const std::vector<Task> tasks;
  TaskQueue queue(&tasks, nullptr);
  queue.Fail(absl::ResourceExhaustedError("first"));
  queue.Fail(absl::InternalError("second"));
  EXPECT_EQ(queue.status().message(), "first");
  EXPECT_EQ(queue.CheckCancelled().message(), "first");
}

TEST(CancellationEndsTheSave) {
  std::mt19937 random(13);
  for (int i = 0; i < 100; ++i) {
    std::atomic<bool> cancelled{false};
    Drill drill({0, 50, 0, 50}, &cancelled);
    const int64_t last = random() % 50;
    drill.on_block = [&](int task, int64_t block) {
      if (task == 1 && block == last) cancelled = true;
      return absl::OkStatus();
    };
    EXPECT_TRUE(absl::IsCancelled(drill.Run(1 + static_cast<int>(random() % 4))));
    EXPECT_TRUE(drill.MostDone() <= 1);
    EXPECT_EQ(drill.late_blocks(), 0);
  }
}

TEST(CancellationWhileOthersWaitForAUnitToOpen) {
  std::atomic<bool> cancelled{false};
  Drill drill({4, 4}, &cancelled);
  drill.on_task = [&](int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    cancelled = true;
    return absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(drill.Run(4)));
  EXPECT_TRUE(drill.MostDone() <= 1);
}

TEST(AFailureIsNotReplacedByACancellation) {
  std::atomic<bool> cancelled{false};
  const std::vector<Task> tasks;
  TaskQueue queue(&tasks, &cancelled);
  queue.Fail(absl::DataLossError("lost"));
  cancelled = true;
  EXPECT_TRUE(absl::IsDataLoss(queue.CheckCancelled()));
}

}  // namespace
}  // namespace autodist
