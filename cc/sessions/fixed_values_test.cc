// Which values of a save nobody can change while it writes them.

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "core/testing/testing.h"
#include "sessions/instant.h"
#include "sessions/save_session.h"
#include "sessions/testing_variables.h"
#include "sessions/variable_sources.h"
#include "sessions/variable_value.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using testing::Variables;

// Memory of somebody else, as that of a NumPy array is.
class BorrowedBuffer : public tensorflow::TensorBuffer {
 public:
  explicit BorrowedBuffer(std::vector<float>* floats)
      : TensorBuffer(floats->data()), size_(floats->size() * sizeof(float)) {}
  size_t size() const override { return size_; }
  TensorBuffer* root_buffer() override { return this; }
  void FillAllocationDescription(tensorflow::AllocationDescription*) const override {}
  bool OwnsMemory() const override { return false; }

 private:
  const size_t size_;
};

Tensor Borrowed(std::vector<float>* floats) {
  tensorflow::core::RefCountPtr<BorrowedBuffer> buffer(new BorrowedBuffer(floats));
  const tensorflow::TensorShape shape({static_cast<int64_t>(floats->size())});
  return Tensor(tensorflow::DT_FLOAT, shape, buffer.get());
}

std::vector<SourceValue> ValuesOf(const PinnedVariables& pins) {
  std::vector<SourceValue> values(pins.variables().size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i].variable = pins.variables()[i].variable.get();
  }
  return values;
}

// Whether each of them is, after the references were taken.
std::vector<int> Referenced(std::vector<SourceValue> values) {
  double seconds;
  EXPECT_TRUE(!ReferenceValues(&values, &seconds).has_value());
  std::vector<int> fixed;
  for (const SourceValue& value : values) fixed.push_back(value.is_fixed);
  return fixed;
}

std::vector<int> TakenAtOneInstant(std::vector<SourceValue> values) {
  EXPECT_TRUE(TakeInstant(&values, {}).ok());
  std::vector<int> fixed;
  for (const SourceValue& value : values) fixed.push_back(value.is_fixed);
  return fixed;
}

TEST(OnlyTheOneReferenceToOwnMemoryIsTheOnlyOne) {
  Tensor own = Variables::Filled(1000, 1);
  EXPECT_TRUE(IsOnlyReference(own));
  {
    const Tensor other = own;
    EXPECT_TRUE(!IsOnlyReference(own) && !IsOnlyReference(other));
  }
  EXPECT_TRUE(IsOnlyReference(own));
  {
    const Tensor part = own.Slice(0, 16);
    EXPECT_TRUE(!IsOnlyReference(own) && !IsOnlyReference(part));
  }
  const Tensor part = std::exchange(own, Tensor()).Slice(0, 16);
  EXPECT_TRUE(IsOnlyReference(part));
  EXPECT_TRUE(!IsOnlyReference(own));

  std::vector<float> floats(1000);
  Tensor borrowed = Borrowed(&floats);
  EXPECT_TRUE(!IsOnlyReference(borrowed));
  const Tensor borrowed_part = std::exchange(borrowed, Tensor()).Slice(0, 16);
  EXPECT_TRUE(borrowed_part.RefCountIsOne());  // as TensorFlow sees it
  EXPECT_TRUE(!IsOnlyReference(borrowed_part));
}

TEST(AVariableIsFixedIfNothingElseLeadsToItsMemory) {
  Variables variables(4, 1000, 5);
  const PinnedVariables pins = variables.Pins();
  std::vector<SourceValue> values = ValuesOf(pins);
  std::vector<float> floats(1000);
  *values[0].variable->tensor() = Borrowed(&floats);
  // As a ref variable does that was assigned to it.
  const Tensor alias = *values[1].variable->tensor();
  values[2].variable->copy_on_read_mode.store(true);
  // Twice: the references of the save itself do not count.
  values.push_back(values[3]);
  EXPECT_EQ(Referenced(values), std::vector<int>({0, 0, 0, 1, 1}));
  EXPECT_EQ(TakenAtOneInstant(values), std::vector<int>({0, 0, 0, 1, 1}));
}

TEST(ACopyOfASaveIsFixedAndALockedVariableIsNot) {
  Variables variables(1, 1000, 5, /*in_place=*/true);
  const PinnedVariables pins = variables.Pins();
  for (const LockMode mode : {LockMode::kBlock, LockMode::kCopy}) {
    std::vector<SourceValue> values = ValuesOf(pins);
    values[0].dtype = tensorflow::DT_FLOAT;
    values[0].shape = tensorflow::TensorShape({1000});
    VariableSources sources(values, mode);
    const auto held = sources.Acquire({0}, Sources::Hold::kLong);
    EXPECT_TRUE(held.ok());
    EXPECT_EQ((*held)->is_fixed(0), mode == LockMode::kCopy);
  }
}

TEST(WhatASaveOfAClusterKeepsIsFixedIfItIsACopy) {
  Variables variables(2, 1000, 5);
  const PinnedVariables pins = variables.Pins();
  std::vector<SourceValue> values = ValuesOf(pins);
  values[0].variable->copy_on_read_mode.store(true);
  SaveSession save(std::chrono::seconds(3600));
  for (int i = 0; i < 2; ++i) {
    values[i].dtype = tensorflow::DT_FLOAT;
    values[i].shape = tensorflow::TensorShape({1000});
    save.AddSource(i, values[i]);
  }
  EXPECT_TRUE(save.Keep({0, 1}, 1 << 20).ok());
  EXPECT_TRUE(save.Source(0)->is_fixed);
  EXPECT_TRUE(!save.Source(1)->is_fixed);
}

}  // namespace
}  // namespace autodist
