#include "threads/job_queue.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "core/testing/testing.h"
#include "threads/job_threads.h"

namespace autodist {
namespace {

// A save without values: `units[i]` blocks of unit i, and what happens to each.
class Drill : private JobWork {
 public:
  // One job per number: 0 for a batch, else the blocks of a large unit.
  explicit Drill(const std::vector<int>& blocks, const std::atomic<bool>* cancelled = nullptr)
      : jobs_(MakeJobs(blocks)),
        batches_done_(blocks.size()),
        blocks_done_(blocks.size()),
        active_(blocks.size()),
        threads_(&jobs_, this, cancelled) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      block_counts_.push_back(blocks[i]);
      blocks_done_[i] = std::vector<std::atomic<int>>(blocks[i]);
    }
  }

  absl::Status Run(int thread_count) { return threads_.Run(thread_count); }

  // Called with the job when its owner opens it, and with the job and block when one is written.
  std::function<absl::Status(int)> on_job = [](int) { return absl::OkStatus(); };
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

 private:
  static std::vector<Job> MakeJobs(const std::vector<int>& blocks) {
    std::vector<Job> jobs;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const int first = static_cast<int>(i);
      const Job::Kind kind = blocks[i] == 0 ? Job::Kind::kBatch : Job::Kind::kBlocks;
      jobs.push_back({kind, first, first + 1, 0, 0});
    }
    return jobs;
  }

  absl::Status DoJob(const Job& job, char* buffer) override {
    const int number = job.first;
    absl::Status status = on_job(number);
    if (!status.ok()) return status;
    if (block_counts_[number] == 0) {
      ++batches_done_[number];
      return status;
    }
    OpenUnit open{number, block_counts_[number]};
    status = threads_.ShareBlocks(&open, buffer);
    late_blocks_ += active_[number];
    return status;
  }

  absl::Status DoBlock(OpenUnit* unit, int64_t block, char*) override {
    struct Active {
      explicit Active(std::atomic<int>* count) : count(*count) { ++this->count; }
      ~Active() { --count; }
      std::atomic<int>& count;
    };
    const Active active(&active_[unit->unit]);
    const absl::Status status = on_block(unit->unit, block);
    ++blocks_done_[unit->unit][block];
    return status;
  }

  const std::vector<Job> jobs_;
  std::vector<int> block_counts_;
  std::vector<std::atomic<int>> batches_done_;
  std::vector<std::vector<std::atomic<int>>> blocks_done_;
  std::vector<std::atomic<int>> active_;  // threads at work on a block, by unit
  std::atomic<int> late_blocks_{0};
  JobThreads threads_;
};

std::vector<int> RandomJobs(std::mt19937* random) {
  std::vector<int> blocks((*random)() % 40);
  for (int& count : blocks) {
    const uint32_t draw = (*random)() % 4;
    count = draw == 0 ? 0 : draw == 1 ? 2 : static_cast<int>((*random)() % 30);
  }
  return blocks;
}

TEST(EveryJobAndEveryBlockIsDoneOnce) {
  std::mt19937 random(11);
  for (int i = 0; i < 200; ++i) {
    std::vector<int> blocks = RandomJobs(&random);
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
    std::vector<int> blocks = RandomJobs(&random);
    blocks.insert(blocks.begin() + random() % (blocks.size() + 1), 8);
    Drill drill(blocks);
    const int bad = static_cast<int>(random() % blocks.size());
    const bool fails_at_once = blocks[bad] == 0 || random() % 2 == 0;
    const int64_t bad_block = fails_at_once ? 0 : random() % blocks[bad];
    drill.on_job = [&](int job) {
      return fails_at_once && job == bad ? absl::DataLossError("job") : absl::OkStatus();
    };
    drill.on_block = [&](int job, int64_t block) {
      return !fails_at_once && job == bad && block == bad_block ? absl::DataLossError("block")
                                                                : absl::OkStatus();
    };
    const absl::Status status = drill.Run(1 + static_cast<int>(random() % 4));
    EXPECT_EQ(status.message(), fails_at_once ? "job" : "block");
    EXPECT_TRUE(drill.MostDone() <= 1);
    EXPECT_EQ(drill.late_blocks(), 0);
  }
}

TEST(AnExceptionAnywhereEndsTheSaveWithAStatus) {
  std::mt19937 random(14);
  for (int i = 0; i < 200; ++i) {
    std::vector<int> blocks = RandomJobs(&random);
    blocks.insert(blocks.begin() + random() % (blocks.size() + 1), 8);
    Drill drill(blocks);
    const int bad = static_cast<int>(random() % blocks.size());
    const bool throws_at_once = blocks[bad] == 0 || random() % 2 == 0;
    const int64_t bad_block = throws_at_once ? 0 : random() % blocks[bad];
    const int kind = i % 3;
    const auto fail = [&]() -> absl::Status {
      if (kind == 0) throw std::bad_alloc();
      if (kind == 1) {
        throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
      }
      throw std::runtime_error("what went wrong");
    };
    drill.on_job = [&](int job) {
      return throws_at_once && job == bad ? fail() : absl::OkStatus();
    };
    drill.on_block = [&](int job, int64_t block) {
      return !throws_at_once && job == bad && block == bad_block ? fail() : absl::OkStatus();
    };
    const absl::Status status = drill.Run(1 + static_cast<int>(random() % 4));
    EXPECT_TRUE(kind == 2 ? absl::IsInternal(status) : absl::IsResourceExhausted(status));
    if (kind == 2) EXPECT_EQ(status.message(), "what went wrong");
    EXPECT_TRUE(drill.MostDone() <= 1);
    EXPECT_EQ(drill.late_blocks(), 0);
  }
}

TEST(OfSeveralFailuresTheFirstIsKept) {
  const std::vector<Job> jobs;
  JobQueue queue(&jobs, nullptr);
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
    drill.on_block = [&](int job, int64_t block) {
      if (job == 1 && block == last) cancelled = true;
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
  drill.on_job = [&](int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    cancelled = true;
    return absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(drill.Run(4)));
  EXPECT_TRUE(drill.MostDone() <= 1);
}

TEST(AFailureIsNotReplacedByACancellation) {
  std::atomic<bool> cancelled{false};
  const std::vector<Job> jobs;
  JobQueue queue(&jobs, &cancelled);
  queue.Fail(absl::DataLossError("lost"));
  cancelled = true;
  EXPECT_TRUE(absl::IsDataLoss(queue.CheckCancelled()));
}

}  // namespace
}  // namespace autodist
