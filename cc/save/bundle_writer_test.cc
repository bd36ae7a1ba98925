#include "save/bundle_writer.h"

#include <atomic>
#include <functional>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/testing/testing.h"
#include "format/values/element_type.h"
#include "format/values/testing_tensors.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace autodist {
namespace {

using tensorflow::DataType;
using tensorflow::Tensor;
using testing::Cut;
using testing::Grid;
using testing::RandomShape;
using testing::RandomTensor;
using testing::RandomTiling;
using testing::ReadFile;
using testing::TemporaryDirectory;

constexpr char kData[] = ".data-00000-of-00001";
constexpr char kIndex[] = ".index";

class MemorySources : public Sources {
 public:
  int Add(Tensor tensor) {
    tensors_.push_back(std::move(tensor));
    return static_cast<int>(tensors_.size()) - 1;
  }

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                      Hold) override {
    const absl::Status status = Count(sources);
    if (!status.ok()) return status;
    return std::unique_ptr<HeldValues>(std::make_unique<Held>(Pick(sources), are_fixed, &held_));
  }

  absl::StatusOr<std::vector<Tensor>> Snapshot(absl::Span<const int> sources) override {
    return Pick(sources);
  }

  // Whether the writer is told that nobody changes the values.
  bool are_fixed = false;

  // Which Acquire() fails, counted from 0.
  int failing_acquire = -1;
  std::function<void(int)> on_acquire = [](int) {};

  // Values acquired and not let go.
  int held() const { return held_; }

 private:
  class Held : public HeldValues {
   public:
    Held(std::vector<Tensor> tensors, bool are_fixed, std::atomic<int>* held) : held_(*held) {
      tensors_ = std::move(tensors);
      fixed_.assign(are_fixed ? tensors_.size() : 0, true);
      ++held_;
    }
    ~Held() override { --held_; }

   private:
    std::atomic<int>& held_;
  };

  absl::Status Count(absl::Span<const int>) {
    const int number = acquires_++;
    on_acquire(number);
    return number == failing_acquire ? absl::FailedPreconditionError("no value") : absl::OkStatus();
  }

  std::vector<Tensor> Pick(absl::Span<const int> sources) const {
    std::vector<Tensor> picked;
    for (int source : sources) picked.push_back(tensors_[source]);
    return picked;
  }

  std::vector<Tensor> tensors_;
  std::atomic<int> acquires_{0};
  std::atomic<int> held_{0};
};

tensorflow::TensorShape ShapeOf(const Dims& dims) { return tensorflow::TensorShape(dims); }

// A save by us and by TensorFlow's own BundleWriter, in one directory.
class Comparison {
 public:
  // Adds a variable that we see as `boxes`, each with so many equal replicas, and TensorFlow whole.
  void Add(const std::string& name, const Tensor& whole, const Dims& shape,
           const std::vector<Box>& boxes, int replicas) {
    wholes_.emplace_back(name, whole);
    for (const Box& box : boxes) {
      const Tensor part = Cut(whole, shape, box);
      for (int i = 0; i < replicas; ++i) AddEntry(name, shape, box, part);
    }
  }

  void AddEntry(const std::string& name, const Dims& shape, const Box& box, const Tensor& value) {
    std::vector<std::string> ranges;
    for (int axis = 0; axis < box.rank(); ++axis) {
      const bool is_full = box.extent[axis] == shape[axis];
      ranges.push_back(is_full ? "-" : absl::StrCat(box.start[axis], ",", box.extent[axis]));
    }
    // TensorSlice cannot spell the slices of a scalar, nor a part of no length.
    std::string slice;
    if (!shape.empty() && box != Box::Whole(shape)) {
      slice = absl::StrCat(absl::StrJoin(shape, " "), " ", absl::StrJoin(ranges, ":"));
    }
    entries_.push_back({name, slice, "MEAN", sources_.Add(value), value.dtype(), value.shape()});
  }

  void AddWhole(const std::string& name, const Tensor& whole) { wholes_.emplace_back(name, whole); }

  absl::Status WriteOurs(const WriteOptions& options) {
    const absl::StatusOr<SavePlan> plan = BuildSavePlan(entries_, SaveLayout::kOriginal);
    if (!plan.ok()) return plan.status();
    return WriteBundle(directory_.path() + "/ours", *plan, &sources_, options).status();
  }

  // Whether both files have the same bytes.
  void ExpectSameBytes(int threads) {
    WriteOptions options;
    options.threads = threads;
    options.durable = false;
    tensorflow::BundleWriter writer(tsl::Env::Default(), directory_.path() + "/stock");
    for (const auto& [name, whole] : wholes_) EXPECT_EQ(writer.Add(name, whole), absl::OkStatus());
    EXPECT_EQ(writer.Finish(), absl::OkStatus());
    for (const bool are_fixed : {false, true}) {
      sources_.are_fixed = are_fixed;
      EXPECT_EQ(WriteOurs(options), absl::OkStatus());
      EXPECT_EQ(sources_.held(), 0);
      for (const char* suffix : {kData, kIndex}) {
        EXPECT_TRUE(ReadFile(directory_.path() + "/ours" + suffix) ==
                    ReadFile(directory_.path() + "/stock" + suffix));
      }
      EXPECT_EQ(directory_.Names().size(), 4u);
    }
  }

  MemorySources& sources() { return sources_; }
  const TemporaryDirectory& directory() const { return directory_; }

 private:
  TemporaryDirectory directory_;
  MemorySources sources_;
  std::vector<SaveEntry> entries_;
  std::vector<std::pair<std::string, Tensor>> wholes_;
};

constexpr DataType kTypes[] = {
    tensorflow::DT_FLOAT,  tensorflow::DT_HALF,      tensorflow::DT_BFLOAT16,
    tensorflow::DT_DOUBLE, tensorflow::DT_COMPLEX64, tensorflow::DT_COMPLEX128,
    tensorflow::DT_INT8,   tensorflow::DT_UINT16,    tensorflow::DT_INT32,
    tensorflow::DT_INT64,  tensorflow::DT_BOOL,      tensorflow::DT_STRING};

// A box of no length has no spelling as a slice.
std::vector<Box> WithoutEmpty(const Dims& shape, std::vector<Box> boxes) {
  if (Box::Whole(shape).elements() == 0) return {Box::Whole(shape)};
  std::vector<Box> kept;
  for (Box& box : boxes) {
    if (box.elements() > 0) kept.push_back(std::move(box));
  }
  return kept;
}

TEST(RandomLayoutsGiveStockBytes) {
  std::mt19937 random(21);
  for (int round = 0; round < 40; ++round) {
    Comparison comparison;
    const int variables = 1 + static_cast<int>(random() % 12);
    for (int i = 0; i < variables; ++i) {
      const Dims shape = RandomShape(&random);
      const DataType dtype = kTypes[random() % std::size(kTypes)];
      comparison.Add(
          absl::StrCat("v", random() % 1000, "/", i), RandomTensor(dtype, shape, &random), shape,
          WithoutEmpty(shape, RandomTiling(shape, &random)), 1 + static_cast<int>(random() % 3));
    }
    comparison.ExpectSameBytes(1 + static_cast<int>(random() % 4));
  }
}

TEST(LargeGridsAndReplicasGiveStockBytes) {
  std::mt19937 random(22);
  // Odd sizes: blocks end within rows.
  const Dims shape = {531, 1237};
  Comparison comparison;
  int number = 0;
  for (const auto& [rows, columns] : {std::pair(1, 1), {8, 1}, {1, 8}, {2, 4}, {3, 1237}}) {
    for (int replicas : {1, 3}) {
      if (columns > 8 && replicas == 3) continue;
      const DataType dtype = number % 2 == 0 ? tensorflow::DT_FLOAT : tensorflow::DT_HALF;
      comparison.Add(absl::StrCat("v", number++), RandomTensor(dtype, shape, &random), shape,
                     Grid(shape, rows, columns), replicas);
      // An odd number of bytes: what follows is not aligned.
      comparison.Add(absl::StrCat("v", number++), RandomTensor(tensorflow::DT_INT8, {7}, &random),
                     {7}, {Box::Whole({7})}, 1);
    }
  }
  comparison.ExpectSameBytes(4);
}

TEST(TheMeanOfReplicasThatDifferIsWritten) {
  std::mt19937 random(23);
  const Dims shape = {700, 1001};
  Tensor mean(tensorflow::DT_FLOAT, ShapeOf(shape));
  Tensor first(tensorflow::DT_FLOAT, ShapeOf(shape));
  Tensor second(tensorflow::DT_FLOAT, ShapeOf(shape));
  for (int64_t i = 0; i < mean.NumElements(); ++i) {
    first.flat<float>()(i) = static_cast<float>(random() % 4096);
    second.flat<float>()(i) = static_cast<float>(random() % 4096);
    mean.flat<float>()(i) = (first.flat<float>()(i) + second.flat<float>()(i)) / 2;
  }
  Comparison comparison;
  comparison.AddWhole("v", mean);
  for (const Box& box : Grid(shape, 2, 3)) {
    comparison.AddEntry("v", shape, box, Cut(first, shape, box));
    comparison.AddEntry("v", shape, box, Cut(second, shape, box));
  }
  comparison.ExpectSameBytes(3);
}

TEST(ManySmallTensorsGiveStockBytes) {
  std::mt19937 random(24);
  Comparison comparison;
  for (int i = 0; i < 5000; ++i) {
    const Dims shape = {static_cast<int64_t>(random() % 300)};
    const DataType dtype = i % 7 == 0 ? tensorflow::DT_INT8 : tensorflow::DT_FLOAT;
    comparison.Add(absl::StrCat("layer_", i % 50, "/v", i), RandomTensor(dtype, shape, &random),
                   shape, {Box::Whole(shape)}, 1 + i % 2);
  }
  comparison.ExpectSameBytes(4);
}

TEST(StringsAmongLargeTensorsGiveStockBytes) {
  std::mt19937 random(25);
  Comparison comparison;
  for (int i = 0; i < 4; ++i) {
    const Dims words = {200, 300};
    comparison.Add(absl::StrCat("s", i), RandomTensor(tensorflow::DT_STRING, words, &random), words,
                   Grid(words, 2, 2), 1 + i % 2);
    const Dims shape = {600, 1000};
    comparison.Add(absl::StrCat("v", i), RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                   Grid(shape, 1 + i, 1), 1);
  }
  comparison.ExpectSameBytes(3);
}

TEST(NothingAndEmptyTensorsGiveStockBytes) {
  Comparison nothing;
  nothing.ExpectSameBytes(2);
  std::mt19937 random(26);
  Comparison empty;
  const Dims shapes[] = {{0}, {3, 0}, {0, 2, 5}, {}};
  for (const Dims& shape : shapes) {
    const std::string name = absl::StrCat("v", shape.size());
    empty.Add(name, RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape, {Box::Whole(shape)},
              2);
    empty.Add(name + "s", RandomTensor(tensorflow::DT_STRING, shape, &random), shape,
              {Box::Whole(shape)}, 1);
  }
  empty.ExpectSameBytes(2);
}

// Three large units and some small ones.
void AddLayers(Comparison* comparison) {
  std::mt19937 random(27);
  const Dims shape = {1500, 1000};
  for (int i = 0; i < 3; ++i) {
    comparison->Add(absl::StrCat("v", i), RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                    {Box::Whole(shape)}, 1 + i % 2);
    comparison->Add(absl::StrCat("w", i), RandomTensor(tensorflow::DT_FLOAT, {10}, &random), {10},
                    {Box::Whole({10})}, 1);
  }
}

TEST(AValueThatCannotBeReadEndsTheSaveAndLeavesNothing) {
  for (int failing = 0; failing < 6; ++failing) {
    Comparison comparison;
    AddLayers(&comparison);
    comparison.sources().failing_acquire = failing;
    WriteOptions options;
    options.threads = 4;
    EXPECT_EQ(comparison.WriteOurs(options).message(), "no value");
    EXPECT_EQ(comparison.sources().held(), 0);
    EXPECT_EQ(comparison.directory().Names().size(), 0u);
  }
}

TEST(ACancelledSaveLeavesNothing) {
  for (int number = 0; number < 6; ++number) {
    Comparison comparison;
    AddLayers(&comparison);
    std::atomic<bool> cancelled{false};
    comparison.sources().on_acquire = [&](int acquire) {
      if (acquire == number) cancelled = true;
    };
    WriteOptions options;
    options.threads = 3;
    options.cancelled = &cancelled;
    const absl::Status status = comparison.WriteOurs(options);
    // Whoever acquires the last value may have nothing left to cancel.
    EXPECT_TRUE(absl::IsCancelled(status) || (number == 5 && status.ok()));
    EXPECT_EQ(comparison.sources().held(), 0);
    EXPECT_EQ(comparison.directory().Names().size(), status.ok() ? 2u : 0u);
  }
}

TEST(AValueThatChangedItsShapeEndsTheSave) {
  Comparison comparison;
  const Tensor value(tensorflow::DT_FLOAT, {3});
  comparison.Add("v", value, {3}, {Box::Whole({3})}, 1);
  MemorySources changed;
  changed.Add(Tensor(tensorflow::DT_FLOAT, {4}));
  const auto plan = BuildSavePlan({{"v", "", "MEAN", 0, tensorflow::DT_FLOAT, value.shape()}},
                                  SaveLayout::kOriginal);
  const auto written =
      WriteBundle(comparison.directory().path() + "/ours", *plan, &changed, WriteOptions());
  EXPECT_TRUE(absl::IsFailedPrecondition(written.status()));
  EXPECT_EQ(comparison.directory().Names().size(), 0u);
}

}  // namespace
}  // namespace autodist
