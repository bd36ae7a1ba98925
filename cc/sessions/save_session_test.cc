// Saves of a cluster on one task, while its ops are given up and go on.

#include "sessions/save_session.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/index/index_table.h"
#include "sessions/testing_variables.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"

namespace autodist {
namespace {

using testing::TemporaryDirectory;
using testing::Variables;

constexpr std::chrono::seconds kSaveLease{3600};

absl::StatusOr<std::string> EmptyIndex(int file_count) {
  return BuildIndexTable(std::map<std::string, tensorflow::BundleEntryProto>(), file_count);
}

// A variable that is read when it is written.
SourceValue SourceOf(const PinnedVariable& pinned) {
  std::vector<SourceValue> values(1);
  values[0].variable = pinned.variable.get();
  double lock_seconds = 0;
  EXPECT_TRUE(!ReferenceValues(&values, &lock_seconds).has_value());
  return values[0];
}

// Threads that write blocks until they are refused.
class Writers {
 public:
  explicit Writers(std::shared_ptr<SaveSession> save) {
    for (int i = 0; i < 3; ++i) {
      threads_.emplace_back([this, save, i] {
        const std::string block(4096, 'a' + i);
        while (true) {
          const absl::Status status = save->Write(i * 4096, block);
          if (!status.ok()) {
            if (!absl::IsFailedPrecondition(status)) ++failures_;
            return;
          }
          ++written_;
        }
      });
    }
    while (written_ < 20) std::this_thread::yield();
  }

  // Once they have been refused, how many failed otherwise.
  int Join() {
    for (std::thread& thread : threads_) thread.join();
    return failures_;
  }

 private:
  std::atomic<int> written_{0}, failures_{0};
  std::vector<std::thread> threads_;
};

std::shared_ptr<SaveSession> Begin(const std::string& prefix) {
  auto save = std::make_shared<SaveSession>(kSaveLease);
  auto files = BundleFiles::Create(prefix, /*durable=*/false);
  EXPECT_EQ(files.status(), absl::OkStatus());
  if (files.ok()) save->SetFiles(*std::move(files));
  return save;
}

TEST(ASaveThatIsDroppedLeavesNothingThoughOpsStillWrite) {
  const TemporaryDirectory directory;
  for (int round = 0; round < 20; ++round) {
    auto save = Begin(directory.path() + "/m");
    Writers writers(save);
    save->Drop();
    // While ops still refer to it.
    EXPECT_TRUE(directory.Names().empty());
    EXPECT_EQ(BundleFiles::Create(directory.path() + "/m", false).status(), absl::OkStatus());
    EXPECT_EQ(writers.Join(), 0);
    EXPECT_TRUE(absl::IsFailedPrecondition(save->Commit(EmptyIndex)));
  }
}

TEST(NothingIsWrittenIntoACommittedBundle) {
  const TemporaryDirectory directory;
  for (int round = 0; round < 20; ++round) {
    auto save = Begin(directory.path() + "/m");
    Writers writers(save);
    // The end of a save that was given up comes while it is committed.
    std::thread drop([&] { save->Drop(); });
    const absl::Status status = save->Commit(EmptyIndex);
    drop.join();
    EXPECT_TRUE(status.ok() || absl::IsFailedPrecondition(status));
    EXPECT_EQ(directory.Names().size(), size_t{round == 0 && !status.ok() ? 0u : 2u});
    EXPECT_EQ(writers.Join(), 0);
    if (!status.ok())
      EXPECT_EQ(Begin(directory.path() + "/m")->Commit(EmptyIndex), absl::OkStatus());
  }
}

TEST(AnotherTasksFileIsClosedOnlyWhenNobodyWrites) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/data";
  std::ofstream(path) << "";
  for (int round = 0; round < 20; ++round) {
    auto save = std::make_shared<SaveSession>(kSaveLease);
    if (round % 2 == 0) EXPECT_TRUE(save->OpenData(path));
    if (round % 2 == 1) save->SetDataPath(path);
    Writers writers(save);
    EXPECT_EQ(save->Finish(/*durable=*/false), absl::OkStatus());
    EXPECT_EQ(writers.Join(), 0);
  }
}

TEST(OpsThatKeepAtTheSameTimeCountEachCopyOnce) {
  constexpr int64_t kBytes = 4 * 1000;
  Variables variables(3, 1000, 2.0f, /*in_place=*/true);
  auto save = std::make_shared<SaveSession>(kSaveLease);
  const PinnedVariables pins = variables.Pins();
  save->KeepAlive(pins);
  const auto add_sources = [&] {
    for (int i = 0; i < 3; ++i) {
      save->AddSource(i, SourceOf(pins.variables()[i]));
    }
  };
  for (int round = 0; round < 50; ++round) {
    add_sources();
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        EXPECT_EQ(save->Keep({0, 1, 2}, 100 * kBytes), absl::OkStatus());
        for (int number : {0, 1, 2}) EXPECT_EQ(save->Source(number).status(), absl::OkStatus());
      });
    }
    for (std::thread& thread : threads) thread.join();
    save->Release({0, 1, 2});
    add_sources();
    // All of the budget is there again, and no more.
    EXPECT_TRUE(absl::IsResourceExhausted(save->Keep({0, 1, 2}, 3 * kBytes - 1)));
    EXPECT_EQ(save->Keep({0, 1, 2}, 3 * kBytes), absl::OkStatus());
    save->Release({0, 1, 2});
  }
}

TEST(AnOpReadsVariablesAfterTheSaveIsEnded) {
  auto variables = std::make_unique<Variables>(1, 1000, 2.0f, /*in_place=*/true);
  auto save = std::make_shared<SaveSession>(kSaveLease);
  {
    const PinnedVariables pins = variables->Pins();
    save->AddSource(0, SourceOf(pins.variables()[0]));
    save->KeepAlive(pins);
  }
  const absl::StatusOr<SourceValue> source = save->Source(0);
  EXPECT_EQ(save->Finish(false), absl::OkStatus());
  variables.reset();
  VariableSources sources({*source}, LockMode::kBlock);
  const auto value = sources.Snapshot({0});
  EXPECT_EQ(value.status(), absl::OkStatus());
  EXPECT_EQ((*value)[0].flat<float>()(999), 2.0f);
}

}  // namespace
}  // namespace autodist
