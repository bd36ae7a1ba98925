// Saves and restores when memory runs out. Every allocation fails, one after the other, in all
// threads. In another series all allocations from one on fail.

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/values/testing_tensors.h"
#include "restore/testing_restores.h"
#include "save/bundle_writer.h"
#include "save/commit/staged_bundle.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"
#include "threads/guarded.h"

namespace autodist::testing {
namespace {

// How many allocations are still made; negative: all are.
std::atomic<int64_t> allocations_left{-1};
std::atomic<bool> fails_once{false};
std::atomic<int64_t> failed{0};

bool IsToFail() {
  if (allocations_left.load(std::memory_order_relaxed) < 0) return false;
  const int64_t left = allocations_left.fetch_sub(1);
  if (left > 0) return false;
  if (left < 0) {
    // Two threads came at once.
    if (fails_once) return false;
  } else if (!fails_once) {
    allocations_left = 0;
  }
  ++failed;
  return true;
}

// Allocations fail from one on, or that one alone, while this lives.
class Shortage {
 public:
  Shortage(int64_t first, bool once) {
    failed = 0;
    fails_once = once;
    allocations_left = first;
  }
  ~Shortage() { allocations_left = -1; }

  static bool was_felt() { return failed > 0; }
};

}  // namespace

void* Allocate(size_t size) {
  if (IsToFail()) return nullptr;
  return std::malloc(size == 0 ? 1 : size);
}

void* AllocateOrThrow(size_t size) {
  void* const memory = Allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace autodist::testing

void* operator new(size_t size) { return autodist::testing::AllocateOrThrow(size); }
void* operator new[](size_t size) { return autodist::testing::AllocateOrThrow(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return autodist::testing::Allocate(size);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return autodist::testing::Allocate(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace autodist {
namespace {

using tensorflow::Tensor;
using testing::AreEqual;
using testing::Cut;
using testing::Exercise;
using testing::Grid;
using testing::Options;
using testing::RandomTensor;
using testing::Shortage;
using testing::SliceSpec;
using testing::TemporaryDirectory;

// Calls attempt(first, once), which says whether an allocation failed, for more and more of them
// that succeed, until all do.
template <typename Attempt>
void ForEachAllocation(const Attempt& attempt) {
  for (const bool once : {true, false}) {
    // Each of the first, then fewer: the rest is much alike.
    int64_t first = 0;
    while (attempt(first, once)) first += 1 + first / 12;
  }
}

bool IsAsIfItWereFull(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnknown(status) || absl::IsInternal(status);
}

class TensorSources : public Sources {
 public:
  explicit TensorSources(std::vector<Tensor> tensors) : all_(std::move(tensors)) {}

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                      Hold) override {
    auto held = std::make_unique<Held>();
    absl::StatusOr<std::vector<Tensor>> tensors = Snapshot(sources);
    held->Take(*std::move(tensors));
    return std::unique_ptr<HeldValues>(std::move(held));
  }

  absl::StatusOr<std::vector<Tensor>> Snapshot(absl::Span<const int> sources) override {
    std::vector<Tensor> picked;
    for (int source : sources) picked.push_back(all_[source]);
    return picked;
  }

 private:
  class Held : public HeldValues {
   public:
    void Take(std::vector<Tensor> tensors) { tensors_ = std::move(tensors); }
  };

  const std::vector<Tensor> all_;
};

// Longer than what a string has room for without memory.
constexpr char kName[] = "a_checkpoint_with_a_long_name-100000";

// A variable of several blocks in four shards, small ones, and strings.
class Model {
 public:
  explicit Model(uint32_t seed) {
    std::mt19937 random(seed);
    const Dims shape = {1300, 500};
    Add("large", RandomTensor(tensorflow::DT_FLOAT, shape, &random), Grid(shape, 2, 2));
    for (int i = 0; i < 3; ++i) {
      Add(absl::StrCat("small", i), RandomTensor(tensorflow::DT_INT64, {7}, &random),
          {Box::Whole({7})});
    }
    Add("strings", RandomTensor(tensorflow::DT_STRING, {9}, &random), {Box::Whole({9})});
  }

  absl::Status Save(const std::string& prefix) const {
    TensorSources sources(values_);
    const absl::StatusOr<SavePlan> plan = BuildSavePlan(entries_, SaveLayout::kOriginal);
    if (!plan.ok()) return plan.status();
    WriteOptions options;
    options.threads = 3;
    return WriteBundle(prefix, *plan, &sources, options).status();
  }

  // Whether stock TensorFlow reads this model there.
  bool IsAt(const std::string& prefix) const {
    tensorflow::BundleReader reader(tsl::Env::Default(), prefix);
    if (!reader.status().ok()) return false;
    for (const auto& [name, whole] : wholes_) {
      Tensor value(whole.dtype(), whole.shape());
      if (!reader.Lookup(name, &value).ok() || !AreEqual(value, whole)) return false;
    }
    return true;
  }

 private:
  void Add(const std::string& name, const Tensor& whole, const std::vector<Box>& boxes) {
    wholes_.emplace_back(name, whole);
    const auto sizes = whole.shape().dim_sizes();
    const Dims shape(sizes.begin(), sizes.end());
    for (const Box& box : boxes) {
      const Tensor part = Cut(whole, shape, box);
      entries_.push_back({name, SliceSpec(shape, box), "MEAN", static_cast<int>(values_.size()),
                          part.dtype(), part.shape()});
      values_.push_back(part);
    }
  }

  std::vector<std::pair<std::string, Tensor>> wholes_;
  std::vector<SaveEntry> entries_;
  std::vector<Tensor> values_;
};

// Saves, whatever the directory was before, at every shortage; afterwards the checkpoint is the one
// or the other, and nothing else is there.
void ExpectOneOrTheOther(
    const std::function<absl::Status(const Model&, const std::string&)>& save) {
  const TemporaryDirectory directory;
  const std::string prefix = directory.path() + "/new/" + kName;
  Model former(1), next(2);
  int refused = 0;
  ForEachAllocation([&](int64_t first, bool once) {
    absl::Status status;
    {
      const Shortage shortage(first, once);
      status = Guarded([&] { return save(next, prefix); });
    }
    const bool is_saved = next.IsAt(prefix);
    EXPECT_TRUE(is_saved || !status.ok());
    EXPECT_TRUE(status.ok() || IsAsIfItWereFull(status));
    if (is_saved) {
      EXPECT_EQ(std::filesystem::exists(prefix + ".index"), true);
      const std::vector<std::string> names = directory.Names();
      EXPECT_EQ(names.size(), size_t{1});
      size_t files = 0;
      for (const auto& file : std::filesystem::directory_iterator(directory.path() + "/new")) {
        files += file.is_regular_file();
      }
      EXPECT_EQ(files, size_t{2});
      std::swap(former, next);
    } else {
      ++refused;
      EXPECT_TRUE(!std::filesystem::exists(directory.path() + "/new") || former.IsAt(prefix));
    }
    if (!is_saved && std::filesystem::exists(directory.path() + "/new")) {
      size_t files = 0;
      for (const auto& file : std::filesystem::directory_iterator(directory.path() + "/new")) {
        (void)file;
        ++files;
      }
      EXPECT_EQ(files, size_t{2});
    }
    return Shortage::was_felt();
  });
  EXPECT_TRUE(refused > 50);
}

TEST(ASaveWithoutMemoryLeavesTheFormerCheckpointAndNothingElse) {
  ExpectOneOrTheOther(
      [](const Model& model, const std::string& prefix) { return model.Save(prefix); });
}

TEST(ARestoreWithoutMemoryLeavesNoWrongValue) {
  int refused = 0, loaded = 0;
  for (const Verify verify : {Verify::kBefore, Verify::kDuring, Verify::kSwap}) {
    ForEachAllocation([&](int64_t first, bool once) {
      Exercise exercise;
      std::mt19937 random(5);
      // TensorFlow waits for the memory of new tensors of 256 KiB and more.
      const Dims shape = {verify == Verify::kSwap ? 120 : 600, 450};
      for (int i = 0; i < 2; ++i) {
        exercise.Add(absl::StrCat("v", i), RandomTensor(tensorflow::DT_FLOAT, shape, &random),
                     shape, Grid(shape, 2, 1), Grid(shape, 1, 1 + i), 1, [] { return true; });
        exercise.AddWhole(absl::StrCat("w", i), RandomTensor(tensorflow::DT_FLOAT, {10}, &random),
                          true);
        exercise.AddWhole(absl::StrCat("s", i), RandomTensor(tensorflow::DT_STRING, {10}, &random),
                          false);
      }
      exercise.Write();
      absl::Status status;
      {
        const Shortage shortage(first, once);
        status = Guarded([&] { return exercise.Load(Options(3, verify)).status(); });
      }
      EXPECT_EQ(exercise.targets.open_now(), 0);
      if (status.ok()) {
        ++loaded;
        // A swap that had too little memory is made up for in place.
        const bool has_swapped = verify == Verify::kSwap && exercise.targets.open_count() == 0;
        has_swapped ? exercise.ExpectLoadedToSwap() : exercise.ExpectLoaded();
      } else {
        ++refused;
        EXPECT_TRUE(IsAsIfItWereFull(status));
        EXPECT_TRUE(verify == Verify::kDuring ? exercise.HasNoWrongValue()
                                              : exercise.HasNoStoredValue());
      }
      return Shortage::was_felt();
    });
  }
  EXPECT_TRUE(refused > 50 && loaded > 1);
}

}  // namespace
}  // namespace autodist
