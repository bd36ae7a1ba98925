#include "bundle/bundle_loader.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bundle/shape_and_slice.h"
#include "bundle/testing_directory.h"
#include "bundle/testing_tensors.h"
#include "core/testing.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace autodist {
namespace {

using tensorflow::DataType;
using tensorflow::Tensor;
using testing::AreEqual;
using testing::BytesOf;
using testing::Cut;
using testing::Grid;
using testing::RandomShape;
using testing::RandomTensor;
using testing::RandomTiling;
using testing::ReadFile;
using testing::SliceOfBox;
using testing::SliceSpec;
using testing::TemporaryDirectory;
using testing::WithoutEmpty;

// Targets in memory. A live one has a value, and memory of its own.
class MemoryTargets : public RestoreTargets {
 public:
  struct Slot {
    bool is_live = false;
    bool has_value = false;
    Tensor value;
    const char* memory = nullptr;  // that the value had before
  };

  int AddFresh() {
    slots_.emplace_back();
    return static_cast<int>(slots_.size()) - 1;
  }
  int AddLive(Tensor value) {
    const char* memory = BytesOf(value);
    slots_.push_back({true, true, std::move(value), memory});
    return static_cast<int>(slots_.size()) - 1;
  }
  const Slot& slot(int target) const { return slots_[target]; }
  int size() const { return static_cast<int>(slots_.size()); }

  // Called with how often targets were opened before.
  std::function<absl::Status(int)> on_open = [](int) { return absl::OkStatus(); };
  int open_count() const { return open_count_; }
  int open_now() const { return open_now_; }

  bool IsLive(int target, DataType, const tensorflow::TensorShape&) override {
    return slots_[target].is_live;
  }

  absl::StatusOr<Tensor> Allocate(int target, DataType dtype,
                                  const tensorflow::TensorShape& shape) override {
    Slot& slot = slots_[target];
    EXPECT_TRUE(!slot.is_live && !slot.has_value);
    slot.value = Tensor(dtype, shape);
    slot.has_value = true;
    return slot.value;
  }

  absl::StatusOr<std::unique_ptr<OpenTargets>> Open(
      absl::Span<const int> targets, DataType dtype,
      absl::Span<const tensorflow::TensorShape> shapes) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const absl::Status status = on_open(open_count_++);
      if (!status.ok()) return status;
      ++open_now_;
    }
    EXPECT_EQ(targets.size(), shapes.size());
    for (size_t i = 0; i < targets.size(); ++i) {
      EXPECT_TRUE(slots_[targets[i]].value.dtype() == dtype);
      EXPECT_TRUE(slots_[targets[i]].value.shape() == shapes[i]);
    }
    return std::unique_ptr<OpenTargets>(
        std::make_unique<Opened>(this, std::vector<int>(targets.begin(), targets.end())));
  }

 private:
  class Opened : public OpenTargets {
   public:
    Opened(MemoryTargets* owner, std::vector<int> targets)
        : owner_(*owner), targets_(std::move(targets)) {
      for (int target : targets_) {
        tensors_.push_back(owner_.slots_[target].value);
        owner_.slots_[target].has_value = false;
      }
    }
    void Finish() override {
      for (int target : targets_) owner_.slots_[target].has_value = true;
    }
    ~Opened() override {
      std::lock_guard<std::mutex> lock(owner_.mutex_);
      --owner_.open_now_;
    }

   private:
    MemoryTargets& owner_;
    const std::vector<int> targets_;
  };

  std::vector<Slot> slots_;
  std::mutex mutex_;
  int open_count_ = 0;
  int open_now_ = 0;
};

// Variables, a checkpoint of them by TensorFlow's own writer, and targets that want them.
class Exercise {
 public:
  // Stores `whole` as `stored` and wants it as `wanted`, each box in so many replicas; `live` tells
  // of each target whether it has a value, which is other than that stored.
  void Add(const std::string& name, const Tensor& whole, const Dims& shape,
           const std::vector<Box>& stored, const std::vector<Box>& wanted, int replicas,
           const std::function<bool()>& live) {
    if (stored.size() == 1) {
      EXPECT_EQ(writer_->Add(name, whole), absl::OkStatus());
    } else {
      for (const Box& box : stored) {
        EXPECT_EQ(writer_->AddSlice(name, tensorflow::TensorShape(shape), SliceOfBox(shape, box),
                                    Cut(whole, shape, box)),
                  absl::OkStatus());
      }
    }
    for (const Box& box : wanted) {
      entries_.push_back({name, SliceSpec(shape, box), whole.dtype(), targets.size(), replicas});
      const Tensor part = Cut(whole, shape, box);
      for (int i = 0; i < replicas; ++i) {
        expected_.push_back(part);
        if (whole.dtype() == tensorflow::DT_STRING || !live()) {
          targets.AddFresh();
          continue;
        }
        Tensor former(part.dtype(), part.shape());
        std::memset(BytesOf(former), 0x5a, former.tensor_data().size());
        targets.AddLive(former);
      }
    }
  }

  void AddWhole(const std::string& name, const Tensor& whole, bool is_live) {
    const Dims shape = DimsOf(whole.shape());
    Add(name, whole, shape, {Box::Whole(shape)}, {Box::Whole(shape)}, 1, [=] { return is_live; });
  }

  void Write() {
    EXPECT_EQ(writer_->Finish(), absl::OkStatus());
    writer_.reset();
  }

  absl::StatusOr<int64_t> Load(const LoadOptions& options) {
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix_);
    if (!index.ok()) return index.status();
    absl::StatusOr<RestorePlan> plan = BuildRestorePlan(*index, entries_);
    if (!plan.ok()) return plan.status();
    absl::StatusOr<int64_t> size_bytes = LoadBundle(prefix_, *index, *plan, &targets, options);
    EXPECT_EQ(targets.open_now(), 0);
    return size_bytes;
  }

  // Whether every target has the stored value; the live ones where they had theirs.
  void ExpectLoaded() {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      EXPECT_TRUE(slot.has_value && AreEqual(slot.value, expected_[i]));
      if (slot.is_live) EXPECT_TRUE(BytesOf(slot.value) == slot.memory);
    }
  }

  // Whether each live target has its former value.
  bool IsUntouched() const {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      if (!slot.is_live) continue;
      if (!slot.has_value) return false;
      for (char byte : slot.value.tensor_data()) {
        if (byte != 0x5a) return false;
      }
    }
    return true;
  }

  // Whether each live target has its former value, the stored one, or none.
  bool HasNoWrongValue() const {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      if (!slot.is_live || !slot.has_value || AreEqual(slot.value, expected_[i])) continue;
      for (char byte : slot.value.tensor_data()) {
        if (byte != 0x5a) return false;
      }
    }
    return true;
  }

  std::string data_path() const { return prefix_ + ".data-00000-of-00001"; }
  std::string index_path() const { return prefix_ + ".index"; }
  const std::vector<Tensor>& expected() const { return expected_; }

  MemoryTargets targets;

 private:
  TemporaryDirectory directory_;
  const std::string prefix_ = directory_.path() + "/model";
  std::unique_ptr<tensorflow::BundleWriter> writer_ =
      std::make_unique<tensorflow::BundleWriter>(tsl::Env::Default(), prefix_);
  std::vector<RestoreEntry> entries_;
  std::vector<Tensor> expected_;
};

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), bytes.size());
}

LoadOptions Options(int threads, bool verify_first = true) {
  LoadOptions options;
  options.threads = threads;
  options.verify_first = verify_first;
  return options;
}

constexpr DataType kTypes[] = {
    tensorflow::DT_FLOAT,  tensorflow::DT_HALF,      tensorflow::DT_BFLOAT16,
    tensorflow::DT_DOUBLE, tensorflow::DT_COMPLEX64, tensorflow::DT_COMPLEX128,
    tensorflow::DT_INT8,   tensorflow::DT_UINT16,    tensorflow::DT_INT32,
    tensorflow::DT_UINT64, tensorflow::DT_BOOL,      tensorflow::DT_STRING};

TEST(AnyLayoutIsLoadedFromAnyOther) {
  std::mt19937 random(71);
  for (int round = 0; round < 120; ++round) {
    Exercise exercise;
    const int variables = 1 + static_cast<int>(random() % 10);
    const int mixture = static_cast<int>(random() % 3);  // all fresh, some live, all live
    for (int i = 0; i < variables; ++i) {
      const Dims shape = RandomShape(&random);
      const DataType dtype = kTypes[random() % std::size(kTypes)];
      exercise.Add(absl::StrCat("v", random() % 1000, "/", i), RandomTensor(dtype, shape, &random),
                   shape, WithoutEmpty(shape, RandomTiling(shape, &random)),
                   WithoutEmpty(shape, RandomTiling(shape, &random)),
                   1 + static_cast<int>(random() % 3),
                   [&] { return mixture == 2 || (mixture == 1 && random() % 2 == 0); });
    }
    exercise.Write();
    const int threads = 1 + static_cast<int>(random() % 4);
    EXPECT_EQ(exercise.Load(Options(threads, random() % 2 == 0)).status(), absl::OkStatus());
    exercise.ExpectLoaded();
  }
}

TEST(LargePiecesAreLoadedBlockByBlock) {
  std::mt19937 random(72);
  // Odd sizes: blocks end within rows.
  const Dims shape = {231, 1237};
  const std::vector<Box> layouts[] = {Grid(shape, 1, 1), Grid(shape, 8, 1), Grid(shape, 1, 8),
                                      Grid(shape, 2, 4)};
  Exercise exercise;
  int number = 0;
  for (const auto& stored : layouts) {
    for (const auto& wanted : layouts) {
      const DataType dtype = number % 3 == 0 ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
      exercise.Add(absl::StrCat("v", number), RandomTensor(dtype, shape, &random), shape, stored,
                   wanted, 1 + number % 2, [&] { return number % 4 == 1; });
      // An odd number of bytes: what follows is not aligned.
      exercise.AddWhole(absl::StrCat("w", number++),
                        RandomTensor(tensorflow::DT_INT8, {7}, &random), true);
    }
  }
  exercise.Write();
  EXPECT_EQ(exercise.Load(Options(4)).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(EveryByteIsReadOncePerPass) {
  std::mt19937 random(73);
  const Dims shape = {600, 700};
  for (bool is_live : {false, true}) {
    for (bool verify_first : {true, false}) {
      Exercise exercise;
      exercise.Add("v", RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                   Grid(shape, 3, 1), Grid(shape, 2, 4), 3, [&] { return is_live; });
      exercise.Write();
      const int64_t size_bytes = static_cast<int64_t>(ReadFile(exercise.data_path()).size());
      const int passes = is_live && verify_first ? 2 : 1;
      EXPECT_EQ(exercise.Load(Options(2, verify_first)).value(), passes * size_bytes);
      exercise.ExpectLoaded();
    }
  }
}

TEST(ManySmallTensorsAreReadTogether) {
  std::mt19937 random(74);
  Exercise exercise;
  for (int i = 0; i < 4000; ++i) {
    const Dims shape = {static_cast<int64_t>(random() % 300)};
    exercise.AddWhole(
        absl::StrCat("layer_", i % 50, "/v", i),
        RandomTensor(i % 7 == 0 ? tensorflow::DT_INT8 : tensorflow::DT_FLOAT, shape, &random),
        i % 5 == 0);
  }
  exercise.Write();
  EXPECT_EQ(exercise.Load(Options(3)).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(NothingEmptyTensorsAndScalarsAreLoaded) {
  Exercise nothing;
  nothing.Write();
  EXPECT_EQ(nothing.Load(Options(2)).value(), 0);
  std::mt19937 random(75);
  Exercise empty;
  for (const Dims& shape : {Dims{0}, Dims{3, 0}, Dims{0, 2, 5}, Dims{}, Dims{1, 1}}) {
    for (bool is_live : {false, true}) {
      const std::string name = absl::StrCat(shape.size(), is_live, shape.empty() ? 0 : shape[0]);
      empty.AddWhole("v" + name, RandomTensor(tensorflow::DT_FLOAT, shape, &random), is_live);
      empty.AddWhole("s" + name, RandomTensor(tensorflow::DT_STRING, shape, &random), is_live);
    }
  }
  empty.Write();
  EXPECT_EQ(empty.Load(Options(2)).status(), absl::OkStatus());
  empty.ExpectLoaded();
}

// Large and small variables, all live but the strings.
void AddLayers(Exercise* exercise) {
  std::mt19937 random(76);
  const Dims shape = {700, 400};
  for (int i = 0; i < 3; ++i) {
    exercise->Add(absl::StrCat("v", i), RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                  Grid(shape, 2, 1), Grid(shape, 1, 1 + i), 1, [] { return true; });
    exercise->AddWhole(absl::StrCat("w", i), RandomTensor(tensorflow::DT_FLOAT, {10}, &random),
                       true);
    exercise->AddWhole(absl::StrCat("s", i), RandomTensor(tensorflow::DT_STRING, {10}, &random),
                       false);
  }
  exercise->Write();
}

TEST(ACancelledLoadChangesNothing) {
  std::atomic<bool> cancelled{true};
  for (int threads : {1, 3}) {
    Exercise exercise;
    AddLayers(&exercise);
    LoadOptions options = Options(threads);
    options.cancelled = &cancelled;
    EXPECT_TRUE(absl::IsCancelled(exercise.Load(options).status()));
    EXPECT_TRUE(exercise.IsUntouched());
    EXPECT_EQ(exercise.targets.open_count(), 0);
  }
}

TEST(ALoadThatIsCancelledWhileItWritesIsFinished) {
  Exercise exercise;
  AddLayers(&exercise);
  std::atomic<bool> cancelled{false};
  exercise.targets.on_open = [&](int) {
    cancelled = true;
    return absl::OkStatus();
  };
  LoadOptions options = Options(2);
  options.cancelled = &cancelled;
  EXPECT_EQ(exercise.Load(options).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(ALoadInOnePassThatIsCancelledLeavesNoWrongValue) {
  for (int number = 0; number < 6; ++number) {
    Exercise exercise;
    AddLayers(&exercise);
    std::atomic<bool> cancelled{false};
    exercise.targets.on_open = [&](int open) {
      if (open == number) cancelled = true;
      return absl::OkStatus();
    };
    LoadOptions options = Options(3, /*verify_first=*/false);
    options.cancelled = &cancelled;
    const absl::Status status = exercise.Load(options).status();
    // Whoever opens the last targets may have nothing left to cancel.
    EXPECT_TRUE(absl::IsCancelled(status) || (number == 5 && status.ok()));
    EXPECT_TRUE(exercise.HasNoWrongValue());
  }
}

TEST(TargetsThatCannotBeOpenedEndTheLoad) {
  for (int failing = 0; failing < 6; ++failing) {
    Exercise exercise;
    AddLayers(&exercise);
    exercise.targets.on_open = [&](int open) {
      return open == failing ? absl::ResourceExhaustedError("none left") : absl::OkStatus();
    };
    EXPECT_EQ(exercise.Load(Options(4)).status().message(), "none left");
    EXPECT_TRUE(exercise.HasNoWrongValue());
  }
}

TEST(ADamagedByteIsFoundBeforeAnythingIsWritten) {
  std::mt19937 random(77);
  for (int round = 0; round < 8; ++round) {
    Exercise exercise;
    AddLayers(&exercise);
    std::string data = ReadFile(exercise.data_path());
    const size_t at = round == 0 ? 0 : round == 1 ? data.size() - 1 : random() % data.size();
    data[at] = static_cast<char>(data[at] ^ (1 << random() % 8));
    WriteFile(exercise.data_path(), data);
    const absl::Status status = exercise.Load(Options(1 + round % 4)).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_TRUE(absl::StrContains(status.message(), "tensor '"));
    EXPECT_TRUE(absl::StrContains(status.message(), "bytes ["));
    EXPECT_TRUE(absl::StrContains(status.message(), exercise.data_path()));
    EXPECT_TRUE(exercise.IsUntouched());
    EXPECT_EQ(exercise.targets.open_count(), 0);
  }
}

// Small variables of several layouts, some live.
void AddSmall(Exercise* exercise) {
  std::mt19937 random(78);
  const Dims shape = {4, 6};
  exercise->Add("grid", RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                Grid(shape, 2, 2), Grid(shape, 1, 3), 1, [] { return true; });
  exercise->AddWhole("bytes", RandomTensor(tensorflow::DT_INT8, {9}, &random), true);
  exercise->AddWhole("fresh", RandomTensor(tensorflow::DT_HALF, {5}, &random), false);
  exercise->AddWhole("strings", RandomTensor(tensorflow::DT_STRING, {3}, &random), false);
  exercise->AddWhole("truth", RandomTensor(tensorflow::DT_BOOL, {2}, &random), true);
  exercise->Write();
}

TEST(EveryDamagedByteOfASmallCheckpointIsFound) {
  std::string data, index;
  {
    Exercise exercise;
    AddSmall(&exercise);
    data = ReadFile(exercise.data_path());
    index = ReadFile(exercise.index_path());
  }
  for (bool in_index : {false, true}) {
    const std::string& bytes = in_index ? index : data;
    for (size_t at = 0; at < bytes.size(); ++at) {
      Exercise exercise;
      AddSmall(&exercise);
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      WriteFile(in_index ? exercise.index_path() : exercise.data_path(), damaged);
      const absl::Status status = exercise.Load(Options(2)).status();
      if (status.ok()) {
        // Padding of the index; nothing that is read.
        EXPECT_TRUE(in_index);
        exercise.ExpectLoaded();
      } else {
        EXPECT_TRUE(absl::IsDataLoss(status));
        EXPECT_TRUE(exercise.IsUntouched());
      }
    }
  }
}

TEST(AFileThatIsTooShortIsRefused) {
  for (bool in_index : {false, true}) {
    for (size_t cut = 1;; cut += 3) {
      Exercise exercise;
      AddSmall(&exercise);
      const std::string path = in_index ? exercise.index_path() : exercise.data_path();
      const std::string bytes = ReadFile(path);
      if (cut > bytes.size()) break;
      WriteFile(path, bytes.substr(0, bytes.size() - cut));
      const absl::Status status = exercise.Load(Options(2)).status();
      EXPECT_TRUE(absl::IsDataLoss(status));
      EXPECT_TRUE(absl::StrContains(status.message(), path));
      EXPECT_TRUE(exercise.IsUntouched());
    }
  }
}

TEST(AMissingDataFileIsNamed) {
  Exercise exercise;
  AddSmall(&exercise);
  EXPECT_EQ(std::remove(exercise.data_path().c_str()), 0);
  const absl::Status status = exercise.Load(Options(2)).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_TRUE(absl::StrContains(status.message(), exercise.data_path()));
}

TEST(InOnePassWhatIsDamagedIsLeftWithoutAValue) {
  for (size_t at = 0; at < 24 * sizeof(float); ++at) {
    Exercise exercise;
    AddSmall(&exercise);
    std::string data = ReadFile(exercise.data_path());
    data[at] = static_cast<char>(data[at] ^ 4);
    WriteFile(exercise.data_path(), data);
    const absl::Status status = exercise.Load(Options(1, /*verify_first=*/false)).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_TRUE(exercise.HasNoWrongValue());
  }
}

}  // namespace
}  // namespace autodist
