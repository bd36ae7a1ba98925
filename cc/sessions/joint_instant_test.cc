// Variables of several tasks, each with threads of its own in this process, at one instant.

#include "sessions/joint_instant.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "barrier/coordinator.h"
#include "core/testing/testing.h"
#include "sessions/testing_training.h"
#include "sessions/testing_variables.h"

namespace autodist {
namespace {

using testing::AddOne;
using testing::Training;
using testing::UsableMethods;
using testing::Variables;

constexpr auto kLongTime = std::chrono::seconds(120);

const std::atomic<bool> kNotCancelled{false};

// The first bytes of a value as it was.
float FirstElement(const SourceValue& value) {
  float read = *value.tensor.flat<float>().data();
  if (value.image != nullptr) {
    const absl::Status status = value.image->Read(value.tensor.tensor_data().data(), sizeof read,
                                                  reinterpret_cast<char*>(&read));
    EXPECT_TRUE(status.ok());
  }
  return read;
}

// A task with one variable.
struct Task {
  explicit Task(bool in_place) : variables(1, 200000, 0, in_place) {}

  tensorflow::Var* variable() { return variables.Pins().variables()[0].variable.get(); }

  Variables variables;
  std::vector<SourceValue> values;
  absl::StatusOr<JointInstant> taken = absl::UnknownError("not run");
};

// Adds 1 to the variables of all tasks, one after the other: at any instant each is at most one
// step behind the one before it.
void AddOneInTurn(const std::vector<std::unique_ptr<Task>>& tasks) {
  for (const std::unique_ptr<Task>& task : tasks) {
    tensorflow::Var* const variable = task->variable();
    const tensorflow::mutex_lock lock(*variable->mu());
    AddOne(variable);
  }
}

absl::StatusOr<BarrierReport> TakeAll(std::vector<std::unique_ptr<Task>>* tasks,
                                      const InstantOptions& options) {
  const Listener listener = *Listener::Open();
  const BarrierToken token = *BarrierToken::Of(std::string(32, 't'));
  CoordinatorOptions leading;
  leading.deadline = BarrierClock::now() + kLongTime;
  leading.lease = std::chrono::milliseconds(2000);
  leading.most_rounds = 50;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < tasks->size(); ++i) {
    leading.participants.push_back(absl::StrCat("/task:", i));
    ParticipantOptions participant;
    participant.hosts = listener.hosts;
    participant.port = listener.port;
    participant.coordinator = "/task:0";
    participant.number = static_cast<int>(i);
    participant.lease = leading.lease;
    participant.deadline = leading.deadline;
    threads.emplace_back([&options, &token, participant, task = (*tasks)[i].get()] {
      task->values.assign(1, SourceValue());
      task->values[0].variable = task->variable();
      task->taken = TakeInstantTogether(
          &task->values, options, participant, token,
          [](size_t index) {
            return absl::FailedPreconditionError(absl::StrCat("value ", index, " is missing"));
          },
          kNotCancelled);
    });
  }
  absl::StatusOr<BarrierReport> report = Coordinate(listener, leading, token, kNotCancelled);
  for (std::thread& each : threads) each.join();
  return report;
}

TEST(TheVariablesOfAllTasksAreOfOneInstant) {
  for (const ImageMethod method : UsableMethods()) {
    InstantOptions options;
    options.methods = {method};
    options.spill_directory = "/var/tmp";
    std::vector<std::unique_ptr<Task>> tasks;
    for (const bool in_place : {true, false, true})
      tasks.push_back(std::make_unique<Task>(in_place));
    Training training([&] { AddOneInTurn(tasks); });
    for (int save = 0; save < 10; ++save) {
      training.Await(2);
      const absl::StatusOr<BarrierReport> report = TakeAll(&tasks, options);
      EXPECT_EQ(report.status().ToString(), "OK");
      if (!report.ok()) return;
      training.Await(2);
      std::vector<float> seen;
      for (std::unique_ptr<Task>& task : tasks) {
        EXPECT_EQ(task->taken.status().ToString(), "OK");
        EXPECT_EQ(task->taken->round, report->round);
        seen.push_back(FirstElement(task->values[0]));
      }
      EXPECT_TRUE(seen[2] <= seen[1] && seen[1] <= seen[0] && seen[0] <= seen[2] + 1);
      for (std::unique_ptr<Task>& task : tasks) {
        if (task->taken->instant.image) EXPECT_TRUE(task->taken->instant.image->Finish().ok());
      }
    }
  }
}

TEST(AVariableWithoutAValueIsAnErrorOfAll) {
  std::vector<std::unique_ptr<Task>> tasks;
  for (int i = 0; i < 2; ++i) tasks.push_back(std::make_unique<Task>(true));
  tasks[1]->variable()->is_initialized = false;
  const absl::Status status = TakeAll(&tasks, {}).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "/task:1: value 0 is missing"));
  for (std::unique_ptr<Task>& task : tasks) {
    EXPECT_EQ(task->taken.status().ToString(), status.ToString());
    // Nothing is locked.
    EXPECT_TRUE(task->variable()->mu()->try_lock());
    task->variable()->mu()->unlock();
  }
}

}  // namespace
}  // namespace autodist
