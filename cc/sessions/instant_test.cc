#include "sessions/instant.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "core/testing/testing.h"
#include "sessions/testing_training.h"
#include "sessions/testing_variables.h"

namespace autodist {
namespace {

using testing::AddOne;
using testing::Training;
using testing::UsableMethods;
using testing::Variables;

std::vector<SourceValue> ValuesOf(const std::vector<PinnedVariables>& all) {
  std::vector<SourceValue> values;
  for (const PinnedVariables& pins : all) {
    for (const PinnedVariable& pinned : pins.variables()) {
      values.emplace_back();
      values.back().variable = pinned.variable.get();
    }
  }
  return values;
}

// In TensorFlow's order for their locks.
std::vector<tensorflow::Var*> InLockOrder(const std::vector<SourceValue>& values) {
  std::vector<tensorflow::Var*> variables;
  for (const SourceValue& value : values) variables.push_back(value.variable);
  std::sort(variables.begin(), variables.end(), [](tensorflow::Var* a, tensorflow::Var* b) {
    return std::less<const void*>()(a->mu(), b->mu());
  });
  return variables;
}

InstantOptions Only(ImageMethod method) {
  InstantOptions options;
  options.methods = {method};
  options.spill_directory = "/var/tmp";
  return options;
}

// The bytes of a value as it was, as floats.
std::vector<float> Read(const SourceValue& value) {
  const absl::string_view bytes = value.tensor.tensor_data();
  std::vector<float> read(static_cast<size_t>(value.tensor.NumElements()));
  if (value.image == nullptr) {
    std::copy_n(value.tensor.flat<float>().data(), read.size(), read.begin());
  } else {
    const absl::Status status = value.image->Read(bytes.data(), static_cast<int64_t>(bytes.size()),
                                                  reinterpret_cast<char*>(read.data()));
    EXPECT_TRUE(status.ok());
  }
  return read;
}

// Adds 1 to all variables while it holds all their locks, in place: whoever sees two of them with
// different values did not see one instant.
void AddOneToAll(const std::vector<tensorflow::Var*>& variables) {
  for (tensorflow::Var* each : variables) each->mu()->lock();
  for (tensorflow::Var* each : variables) AddOne(each);
  for (tensorflow::Var* each : variables) each->mu()->unlock();
}

TEST(AllVariablesAreOfOneInstant) {
  for (const ImageMethod method : UsableMethods()) {
    Variables in_place(3, 300000, 0, /*in_place=*/true), dense(2, 70000, 0);
    const std::vector<PinnedVariables> pins = {in_place.Pins(), dense.Pins()};
    const std::vector<tensorflow::Var*> variables = InLockOrder(ValuesOf(pins));
    Training training([&] { AddOneToAll(variables); });
    for (int round = 0; round < 20; ++round) {
      training.Await(3);
      std::vector<SourceValue> values = ValuesOf(pins);
      const absl::StatusOr<Instant> instant = TakeInstant(&values, Only(method));
      EXPECT_EQ(instant.status().ToString(), "OK");
      if (!instant.ok()) return;
      EXPECT_TRUE(instant->method == method);
      training.Await(3);
      const float first = Read(values[0])[0];
      EXPECT_TRUE(first > 0);
      for (const SourceValue& value : values) {
        for (const float each : Read(value)) {
          if (each != first) {
            EXPECT_EQ(each, first);
            return;
          }
        }
      }
      EXPECT_TRUE(instant->image->Finish().ok());
    }
  }
}

TEST(DenseVariablesAreReferredTo) {
  Variables dense(3, 1000, 5);
  std::vector<SourceValue> values = ValuesOf({dense.Pins()});
  const absl::StatusOr<Instant> instant = TakeInstant(&values, {});
  EXPECT_TRUE(instant.ok() && instant->image == nullptr && !instant->method);
  for (const SourceValue& value : values) EXPECT_TRUE(value.is_referenced && !value.image);
}

TEST(AVariableWithoutAValueIsNamed) {
  Variables some(3, 1000, 5, /*in_place=*/true);
  std::vector<SourceValue> values = ValuesOf({some.Pins()});
  values[1].variable->is_initialized = false;
  const absl::StatusOr<Instant> instant = TakeInstant(&values, Only(ImageMethod::kCopy));
  EXPECT_TRUE(instant.ok() && instant->missing == 1);
}

// While it lives, no large piece of memory can be mapped.
class LittleMemory {
 public:
  LittleMemory() {
    getrlimit(RLIMIT_AS, &former_);
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit limit = {static_cast<rlim_t>(pages * 4096 + (16 << 20)), former_.rlim_max};
    setrlimit(RLIMIT_AS, &limit);
  }
  ~LittleMemory() { setrlimit(RLIMIT_AS, &former_); }

 private:
  rlimit former_;
};

TEST(NoMethodIsAnErrorThatSaysWhy) {
  Variables some(1, 1 << 20, 5, /*in_place=*/true);
  std::vector<SourceValue> values = ValuesOf({some.Pins()});
  InstantOptions options = Only(ImageMethod::kCopy);
  options.memory_bytes = (4 << 20) - 1;
  const absl::Status status = TakeInstant(&values, options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "copy: the copy takes 4194304 bytes"));
  EXPECT_TRUE(absl::StrContains(status.message(), "snapshot_method='auto'"));
  options.memory_bytes = 4 << 20;
  EXPECT_TRUE(TakeInstant(&values, options).ok());
}

TEST(TheNextMethodIsTakenWhereOneIsNotPossible) {
  Variables some(1, 16 << 20, 5, /*in_place=*/true);
  std::vector<SourceValue> values = ValuesOf({some.Pins()});
  InstantOptions options;
  const LittleMemory little_memory;
  const absl::StatusOr<Instant> instant = TakeInstant(&values, options);
  EXPECT_TRUE(instant.ok() && instant->method == ImageMethod::kFork);
  EXPECT_TRUE(instant.ok() && absl::StrContains(instant->refused, "pages: "));
}

// One thread holds a lock for long: those of the others stay free meanwhile.
TEST(NobodyWaitsForAVariableThatAnotherLocks) {
  Variables some(2, 1000, 5, /*in_place=*/true);
  std::vector<SourceValue> values = ValuesOf({some.Pins()});
  const std::vector<tensorflow::Var*> variables = InLockOrder(values);
  variables[1]->mu()->lock();
  std::atomic<bool> is_taken{false};
  std::thread taking([&] {
    EXPECT_TRUE(TakeInstant(&values, Only(ImageMethod::kCopy)).ok());
    is_taken = true;
  });
  for (int i = 0; i < 20; ++i) {
    variables[0]->mu()->lock();
    variables[0]->mu()->unlock();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(!is_taken);
  variables[1]->mu()->unlock();
  taking.join();
}

}  // namespace
}  // namespace autodist
