// Figures of what a save writes: of the bytes in the file, and the same however many threads write.

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/values/testing_tensors.h"
#include "save/data/data_writer.h"
#include "save/data/figures_collector.h"
#include "save/plan/file_plan.h"
#include "threads/block.h"

namespace autodist {
namespace {

using tensorflow::Tensor;

// Tensors that a save reads where they are, or copies.
class PlainSources : public Sources {
 public:
  PlainSources(std::vector<Tensor> tensors, bool are_fixed)
      : tensors_(std::move(tensors)), are_fixed_(are_fixed) {}

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                      Hold) override {
    auto held = std::make_unique<Held>();
    for (const int source : sources) held->Add(tensors_[source], are_fixed_);
    return std::unique_ptr<HeldValues>(std::move(held));
  }
  absl::StatusOr<std::vector<Tensor>> Snapshot(absl::Span<const int>) override {
    return absl::InternalError("there are no strings");
  }

 private:
  class Held : public HeldValues {
   public:
    void Add(Tensor tensor, bool is_fixed) {
      tensors_.push_back(std::move(tensor));
      fixed_.push_back(is_fixed);
    }
  };

  std::vector<Tensor> tensors_;
  bool are_fixed_;
};

Tensor Floats(const Dims& shape, std::mt19937* random) {
  Tensor tensor(tensorflow::DT_FLOAT, tensorflow::TensorShape(shape));
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < tensor.NumElements(); ++i) tensor.flat<float>()(i) = normal(*random);
  return tensor;
}

std::vector<Figures> FiguresOf(const std::vector<SaveEntry>& entries,
                               const std::vector<Tensor>& tensors, bool are_fixed, int threads) {
  const SavePlan plan = BuildSavePlan(entries, SaveLayout::kOriginal).value();
  const FilePlan file = PlanFile(plan, std::vector<int64_t>(plan.tensors.size(), 0), kBlockBytes);
  std::vector<TensorStream> streams(plan.tensors.size());
  PlainSources sources(tensors, are_fixed);
  const auto written = WriteData(
      plan, file, &streams, &sources, [](int64_t, absl::string_view) { return absl::OkStatus(); },
      threads, nullptr, true);
  EXPECT_TRUE(written.ok());
  return written.ok() ? written->figures : std::vector<Figures>();
}

bool AreSame(const std::vector<Figures>& a, const std::vector<Figures>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (ToWords(a[i]) != ToWords(b[i])) return false;
  }
  return true;
}

TEST(FiguresAreTheSameForAnyNumberOfThreads) {
  std::mt19937 random(1);
  std::vector<Tensor> tensors;
  std::vector<SaveEntry> entries;
  for (const int64_t size : {1, 10, 1000, 40000, 300001, 700000, 1500000}) {
    const int number = static_cast<int>(tensors.size());
    tensors.push_back(Floats({size}, &random));
    entries.push_back({absl::StrCat("v", number), "", "MEAN", number, tensors.back().dtype(),
                       tensors.back().shape()});
  }
  tensors[5].flat<float>()(699999) = std::nanf("");
  const std::vector<Figures> one = FiguresOf(entries, tensors, false, 1);
  EXPECT_EQ(one[5].nans, int64_t{1});
  EXPECT_EQ(one[6].count, int64_t{1500000});
  for (const int threads : {1, 2, 3, 8}) {
    EXPECT_TRUE(AreSame(FiguresOf(entries, tensors, false, threads), one));
    EXPECT_TRUE(AreSame(FiguresOf(entries, tensors, true, threads), one));
  }
}

TEST(TensorsWithoutElementsHaveFiguresAllTheSame) {
  const Tensor empty(tensorflow::DT_FLOAT, tensorflow::TensorShape({0, 3}));
  const std::vector<SaveEntry> entries = {{"e", "", "MEAN", 0, empty.dtype(), empty.shape()}};
  const std::vector<Figures> figures = FiguresOf(entries, {empty}, false, 2);
  EXPECT_EQ(figures.size(), size_t{1});
  if (!figures.empty()) EXPECT_EQ(figures[0].count, int64_t{0});
}

TEST(FiguresOfReplicasAreOfTheirMeanAndTellHowFarTheyAre) {
  std::mt19937 random(2);
  for (const int64_t rows : {3, 1000, 9000}) {
    const Tensor first = Floats({rows, 100}, &random);
    Tensor second(first.dtype(), first.shape());
    std::memcpy(testing::BytesOf(second), first.tensor_data().data(), first.TotalBytes());
    const auto entries = std::vector<SaveEntry>{{"v", "", "MEAN", 0, first.dtype(), first.shape()},
                                                {"v", "", "MEAN", 1, first.dtype(), first.shape()}};
    EXPECT_EQ(FiguresOf(entries, {first, second}, false, 2)[0].deviation, 0.0);
    second.flat<float>()(rows * 100 - 1) = first.flat<float>()(rows * 100 - 1) + 8;
    const Figures figures = FiguresOf(entries, {first, second}, false, 2)[0];
    EXPECT_TRUE(std::abs(figures.deviation - 8) < 1e-5);
    EXPECT_EQ(figures.count, rows * 100);
    auto sum = entries;
    for (SaveEntry& entry : sum) entry.aggregation = "SUM";
    EXPECT_EQ(FiguresOf(sum, {first, second}, false, 2)[0].deviation, Figures::kNotMeasured);
  }
}

// Pieces that end within elements, as those of a stream between tasks may.
TEST(APieceMayEndWithinAnElement) {
  std::mt19937 random(3);
  const Tensor value = Floats({5000}, &random);
  const absl::string_view bytes = value.tensor_data();
  Figures whole;
  AddFigures(ElementType::kFloat32, bytes.data(), 5000, nullptr, &whole);
  for (int round = 0; round < 50; ++round) {
    FiguresCollector collector(ArithmeticOf(tensorflow::DT_FLOAT));
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t size = std::min<size_t>(bytes.size() - begin, 1 + random() % 3000);
      collector.Observe(bytes.data() + begin, static_cast<int64_t>(size));
      begin += size;
    }
    EXPECT_EQ(collector.figures().count, whole.count);
    EXPECT_EQ(collector.figures().min, whole.min);
    EXPECT_EQ(collector.figures().max, whole.max);
    EXPECT_TRUE(std::abs(collector.figures().squares / whole.squares - 1) < 4e-6);
  }
}

}  // namespace
}  // namespace autodist
