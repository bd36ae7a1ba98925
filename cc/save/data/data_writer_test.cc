// Bytes that nobody changes are written from where they are; all others are copied first.

#include "save/data/data_writer.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/values/testing_tensors.h"
#include "save/plan/file_plan.h"
#include "threads/block.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using testing::RandomTensor;

// Tensors, of which some are fixed.
class SomeFixed : public Sources {
 public:
  void Add(Tensor tensor, bool is_fixed) {
    tensors_.push_back(std::move(tensor));
    fixed_.push_back(is_fixed);
  }
  const Tensor& tensor(int source) const { return tensors_[source]; }

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                      Hold) override {
    auto held = std::make_unique<Held>();
    for (int source : sources) held->Add(tensors_[source], fixed_[source]);
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
  std::vector<bool> fixed_;
};

// Variables of one shard each: a small one, two of a block at most, and two of several.
class Model {
 public:
  Model() {
    std::mt19937 random(3);
    int64_t number = 0;
    for (const auto& [size, is_fixed] : {std::pair<int64_t, bool>{10, true},
                                         {100001, true},
                                         {300000, true},
                                         {1 << 20, true},
                                         {3 << 20, true},
                                         {(3 << 20) + 1, false},
                                         {90001, false}}) {
      const Tensor value = RandomTensor(tensorflow::DT_INT8, {size}, &random);
      entries_.push_back({absl::StrCat("v", number), "", "MEAN", static_cast<int>(number),
                          value.dtype(), value.shape()});
      sources_.Add(value, is_fixed);
      bytes_ += std::string(value.tensor_data());
      ++number;
    }
    plan_ = BuildSavePlan(entries_, SaveLayout::kOriginal).value();
    file_ = PlanFile(plan_, std::vector<int64_t>(entries_.size(), 0), kBlockBytes);
  }

  absl::StatusOr<WrittenData> Write(const DataSink& sink, int threads) {
    std::vector<TensorStream> streams(entries_.size());
    return WriteData(plan_, file_, &streams, &sources_, sink, threads, nullptr);
  }

  // The variable in whose memory the bytes are; -1 if they are a copy.
  int OwnerOf(absl::string_view bytes) const {
    for (size_t i = 0; i < entries_.size(); ++i) {
      const absl::string_view all = sources_.tensor(static_cast<int>(i)).tensor_data();
      if (bytes.data() >= all.data() && bytes.data() < all.data() + all.size()) return i;
    }
    return -1;
  }

  int count() const { return static_cast<int>(entries_.size()); }
  uint32_t Crc(int number) const {
    return static_cast<uint32_t>(absl::ComputeCrc32c(sources_.tensor(number).tensor_data()));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  SomeFixed sources_;
  std::vector<SaveEntry> entries_;
  SavePlan plan_;
  FilePlan file_;
  std::string bytes_;
};

TEST(FixedBytesAreWrittenFromWhereTheyAre) {
  for (const int threads : {1, 3}) {
    Model model;
    std::mutex mutex;
    std::string file(model.bytes().size(), 0);
    std::vector<int64_t> in_place(model.count());
    const auto crcs = model.Write(
        [&](int64_t offset, absl::string_view bytes) {
          const std::lock_guard<std::mutex> lock(mutex);
          file.replace(offset, bytes.size(), bytes.data(), bytes.size());
          const int owner = model.OwnerOf(bytes);
          if (owner >= 0) in_place[owner] += static_cast<int64_t>(bytes.size());
          return absl::OkStatus();
        },
        threads);
    EXPECT_TRUE(crcs.ok());
    EXPECT_TRUE(file == model.bytes());
    for (int i = 0; crcs.ok() && i < model.count(); ++i) EXPECT_EQ(crcs->crcs[i], model.Crc(i));
    // The first two are put together in a block.
    EXPECT_EQ(in_place, std::vector<int64_t>({0, 0, 300000, 1 << 20, 3 << 20, 0, 0}));
  }
}

TEST(AWriteThatFailsAnywhereEndsTheSave) {
  Model model;
  for (int failing = 0;; ++failing) {
    std::atomic<int> writes{0};
    const auto crcs = model.Write(
        [&](int64_t, absl::string_view) {
          return writes++ == failing ? absl::ResourceExhaustedError("the disk is full")
                                     : absl::OkStatus();
        },
        2);
    if (writes <= failing) {
      EXPECT_TRUE(crcs.ok() && failing > 20);
      break;
    }
    EXPECT_EQ(crcs.status().message(), "the disk is full");
  }
}

}  // namespace
}  // namespace autodist
