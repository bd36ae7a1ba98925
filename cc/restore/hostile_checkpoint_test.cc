// Checkpoints made to harm: indexes whose sums are right and whose contents are not. Each is either
// refused or loaded; none crashes the process, and none makes it allocate what the files do not
// hold.

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <new>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/index/table_reader.h"
#include "format/values/copy_and_sum.h"
#include "format/values/testing_tensors.h"
#include "restore/bundle_loader.h"
#include "storage/testing/testing_directory.h"
#include "tables/table/testing_table.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace {

// A loader needs a block of 1 MiB per thread, and one for strings.
constexpr size_t kMostBytes = size_t{4} << 20;
std::atomic<bool> is_limited{false};
std::atomic<int> refused_allocations{0};

}  // namespace

__attribute__((noinline)) void* operator new(size_t size) {
  const bool is_refused = is_limited && size > kMostBytes;
  refused_allocations += is_refused;
  void* memory = is_refused ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
__attribute__((noinline)) void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size);
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace autodist {
namespace {

using tensorflow::BundleEntryProto;
using tensorflow::Tensor;
using testing::Grid;
using testing::RandomTensor;
using testing::ReadFile;
using testing::SliceOfBox;
using testing::TableBytes;
using testing::TableEntry;
using testing::TemporaryDirectory;

// New memory for all, and no more than `most_elements` of it.
class NewTargets : public RestoreTargets {
 public:
  explicit NewTargets(int64_t most_elements) : most_elements_(most_elements) {}
  bool IsLive(int, tensorflow::DataType, const tensorflow::TensorShape&) override { return false; }
  absl::StatusOr<Tensor> Allocate(int, tensorflow::DataType dtype,
                                  const tensorflow::TensorShape& shape) override {
    EXPECT_TRUE(shape.num_elements() <= most_elements_);
    if (shape.num_elements() > most_elements_) return absl::ResourceExhaustedError("too much");
    last = Tensor(dtype, shape);
    return last;
  }
  absl::StatusOr<std::unique_ptr<OpenTargets>> Open(
      absl::Span<const int>, tensorflow::DataType,
      absl::Span<const tensorflow::TensorShape>) override {
    return absl::InternalError("nothing is live");
  }
  void Discard(int) override {}
  void Withdraw(int) override {}

  Tensor last;

 private:
  const int64_t most_elements_;
};

using Table = std::map<std::string, std::string>;

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), bytes.size());
}

// Limits what can be allocated at once.
class Limit {
 public:
  Limit() {
    refused_allocations = 0;
    is_limited = true;
  }
  ~Limit() {
    is_limited = false;
    EXPECT_EQ(refused_allocations.load(), 0);
  }
};

// A small checkpoint of several kinds of entries, whose index can be replaced.
class Checkpoint {
 public:
  Checkpoint() {
    std::mt19937 random(91);
    tensorflow::BundleWriter writer(tsl::Env::Default(), prefix_);
    const Dims shape = {4, 6};
    for (const Box& box : Grid(shape, 2, 2)) {
      EXPECT_EQ(writer.AddSlice("grid", tensorflow::TensorShape(shape), SliceOfBox(shape, box),
                                RandomTensor(tensorflow::DT_FLOAT, box.extent, &random)),
                absl::OkStatus());
    }
    for (const auto dtype : {tensorflow::DT_FLOAT, tensorflow::DT_STRING, tensorflow::DT_BOOL}) {
      EXPECT_EQ(writer.Add(absl::StrCat("whole_", dtype), RandomTensor(dtype, {5}, &random)),
                absl::OkStatus());
    }
    EXPECT_EQ(writer.Add("scalar", RandomTensor(tensorflow::DT_INT64, {}, &random)),
              absl::OkStatus());
    EXPECT_EQ(writer.Finish(), absl::OkStatus());
    EXPECT_EQ(ReadTable(index_path(),
                        [this](const std::string& key, absl::string_view value) {
                          table_[key] = std::string(value);
                          return absl::OkStatus();
                        }),
              absl::OkStatus());
  }

  const Table& table() const { return table_; }
  std::string index_path() const { return prefix_ + ".index"; }
  std::string data_path() const { return prefix_ + ".data-00000-of-00001"; }

  void WriteIndex(const Table& table) const {
    TableBytes bytes;
    std::string entries;
    for (const auto& [key, value] : table) entries += TableEntry(0, key, value);
    const std::string data = bytes.AddBlock(entries);
    WriteFile(index_path(), bytes.Finish(bytes.AddBlock(TableEntry(0, "z", data))));
  }

  // Loads all that the index says there is, as large as it says, and checks every sum.
  absl::Status Load() const {
    const Limit limit;
    const absl::Status verified = VerifyBundle(prefix_);
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix_);
    if (!index.ok()) return index.status();
    absl::Status first;
    for (const BundleEntry& entry : index->entries) {
      if (entry.slice.has_value()) continue;
      const auto plan = BuildRestorePlan(*index, {{entry.name, "", entry.dtype, 0, 1}});
      first.Update(plan.status());
      if (!plan.ok()) continue;
      NewTargets targets(static_cast<int64_t>(ReadFile(data_path()).size()));
      first.Update(LoadBundle(prefix_, *index, *plan, &targets, LoadOptions{2}).status());
    }
    // What loads in full is right in full, but for entries that say they have no elements.
    if (first.ok() && !verified.ok()) first = verified;
    return first;
  }

 private:
  TemporaryDirectory directory_;
  const std::string prefix_ = directory_.path() + "/model";
  Table table_;
};

TEST(TheCheckpointItselfLoads) {
  Checkpoint checkpoint;
  EXPECT_EQ(checkpoint.Load(), absl::OkStatus());
  checkpoint.WriteIndex(checkpoint.table());
  EXPECT_EQ(checkpoint.Load(), absl::OkStatus());
}

// Changes, drops, doubles or adds some bytes.
void Mutate(std::string* bytes, std::mt19937* random) {
  const int count = 1 + static_cast<int>((*random)() % 3);
  for (int i = 0; i < count; ++i) {
    const size_t at = (*random)() % (bytes->size() + 1);
    switch ((*random)() % 4) {
      case 0:
        bytes->insert(at, 1, static_cast<char>((*random)()));
        break;
      case 1:
        bytes->erase(at, 1 + (*random)() % 3);
        break;
      case 2:
        *bytes += bytes->substr(at);
        break;
      default:
        if (at < bytes->size()) (*bytes)[at] = static_cast<char>((*random)());
    }
  }
}

TEST(RandomMutationsOfIndexEntries) {
  Checkpoint checkpoint;
  std::mt19937 random(92);
  int loaded = 0;
  for (int round = 0; round < 2500; ++round) {
    Table table = checkpoint.table();
    auto entry = std::next(table.begin(), random() % table.size());
    if (random() % 5 == 0) {
      std::string key = entry->first;
      Mutate(&key, &random);
      table[key] = entry->second;
      if (random() % 2 == 0) table.erase(entry->first);
    } else {
      Mutate(&entry->second, &random);
    }
    checkpoint.WriteIndex(table);
    loaded += checkpoint.Load().ok();
  }
  // Some mutations change nothing that is read; if all were refused, the harness would be broken.
  EXPECT_TRUE(loaded > 0 && loaded < 2500);
}

TEST(RandomMutationsOfIndexBlocks) {
  Checkpoint checkpoint;
  std::mt19937 random(93);
  std::string entries;
  for (const auto& [key, value] : checkpoint.table()) entries += TableEntry(0, key, value);
  for (int round = 0; round < 1500; ++round) {
    std::string mutated = entries;
    Mutate(&mutated, &random);
    TableBytes bytes;
    const std::string data = bytes.AddBlock(mutated);
    std::string index = TableEntry(0, "z", data);
    if (round % 3 == 0) Mutate(&index, &random);
    WriteFile(checkpoint.index_path(), bytes.Finish(bytes.AddBlock(index)));
    checkpoint.Load().IgnoreError();
  }
}

constexpr int64_t kExtremes[] = {
    0,         1,         2,         -1,        7,         1 << 20,       INT32_MAX, INT32_MIN,
    INT64_MAX, INT64_MIN, 1LL << 32, 1LL << 40, 1LL << 62, INT64_MAX - 8, 24,        96};

// Sets a random field of an entry to something unlikely.
void MutateFields(BundleEntryProto* entry, std::mt19937* random) {
  const auto extreme = [random] { return kExtremes[(*random)() % std::size(kExtremes)]; };
  switch ((*random)() % 8) {
    case 0:
      entry->set_offset(extreme());
      break;
    case 1:
      entry->set_size(extreme());
      break;
    case 2:
      entry->set_shard_id(static_cast<int>(extreme()));
      break;
    case 3:
      entry->set_dtype(static_cast<tensorflow::DataType>((*random)() % 33));
      break;
    case 4:
      entry->mutable_shape()->add_dim()->set_size(extreme());
      break;
    case 5:
      for (auto& dim : *entry->mutable_shape()->mutable_dim()) dim.set_size(extreme());
      break;
    case 6:
      if (entry->slices_size() > 0) {
        auto* slice = entry->mutable_slices((*random)() % entry->slices_size());
        if (slice->extent_size() == 0) break;
        auto* extent = slice->mutable_extent((*random)() % slice->extent_size());
        if ((*random)() % 2 == 0) {
          extent->set_start(extreme());
        } else {
          extent->set_length(extreme());
        }
        break;
      }
      entry->mutable_shape()->set_unknown_rank(true);
      break;
    default:
      if (entry->slices_size() > 0 && (*random)() % 2 == 0) {
        *entry->add_slices() = entry->slices((*random)() % entry->slices_size());
      } else {
        entry->add_slices()->add_extent()->set_length(extreme());
      }
  }
}

TEST(FieldsOfExtremeValues) {
  Checkpoint checkpoint;
  std::mt19937 random(94);
  for (int round = 0; round < 2500; ++round) {
    Table table = checkpoint.table();
    const int count = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < count; ++i) {
      auto entry = std::next(table.begin(), 1 + random() % (table.size() - 1));
      BundleEntryProto proto;
      EXPECT_TRUE(proto.ParseFromString(entry->second));
      MutateFields(&proto, &random);
      entry->second = proto.SerializeAsString();
    }
    checkpoint.WriteIndex(table);
    checkpoint.Load().IgnoreError();
  }
}

// Appends an entry of `count` strings to the data file, with sums that are right, and loads it.
absl::Status LoadStrings(const std::vector<uint64_t>& lengths, const std::string& contents,
                         int64_t count) {
  Checkpoint checkpoint;
  std::string bytes;
  std::string summed;
  for (uint64_t length : lengths) {
    AppendVarint(length, &bytes);
    if (length > UINT32_MAX) {
      AppendNumber(length, &summed);
    } else {
      AppendNumber(static_cast<uint32_t>(length), &summed);
    }
  }
  const uint32_t lengths_crc = MaskCrc(static_cast<uint32_t>(absl::ComputeCrc32c(summed)));
  AppendNumber(lengths_crc, &bytes);
  AppendNumber(lengths_crc, &summed);
  bytes += contents;
  summed += contents;
  const std::string data = ReadFile(checkpoint.data_path());
  WriteFile(checkpoint.data_path(), data + bytes);
  BundleEntryProto entry;
  entry.set_dtype(tensorflow::DT_STRING);
  entry.mutable_shape()->add_dim()->set_size(count);
  entry.set_offset(static_cast<int64_t>(data.size()));
  entry.set_size(static_cast<int64_t>(bytes.size()));
  entry.set_crc32c(MaskCrc(static_cast<uint32_t>(absl::ComputeCrc32c(summed))));
  Table table = checkpoint.table();
  table["hostile"] = entry.SerializeAsString();
  checkpoint.WriteIndex(table);
  return checkpoint.Load();
}

TEST(StringsThatLieAboutTheirLengths) {
  EXPECT_EQ(LoadStrings({3, 2}, "abcde", 2), absl::OkStatus());
  EXPECT_TRUE(absl::IsDataLoss(LoadStrings({3, 3}, "abcde", 2)));
  EXPECT_TRUE(absl::IsDataLoss(LoadStrings({3, 1}, "abcde", 2)));
  EXPECT_TRUE(absl::IsDataLoss(LoadStrings({3, 2}, "abcde", 3)));
  EXPECT_TRUE(absl::IsDataLoss(LoadStrings({3, 2}, "abcde", 1)));
  EXPECT_TRUE(absl::IsDataLoss(LoadStrings({UINT64_MAX, 6}, "abcde", 2)));
  EXPECT_TRUE(absl::IsDataLoss(LoadStrings({uint64_t{1} << 40}, "abcde", 1)));
  // The first takes all that is left; the others add up to nothing.
  const std::string contents = "abcdefghijklmnopqrstuvwxyz";
  for (uint64_t first = 20; first < 60; ++first) {
    const uint64_t half = uint64_t{1} << 63;
    const std::vector<uint64_t> lengths = {first, half, half - first + contents.size()};
    EXPECT_TRUE(absl::IsDataLoss(LoadStrings(lengths, contents, 3)));
  }
}

TEST(ShapesThatAreTooLargeToCount) {
  Checkpoint checkpoint;
  const std::vector<std::vector<int64_t>> shapes = {{INT64_MAX, INT64_MAX},
                                                    {1LL << 32, 1LL << 32},
                                                    {INT64_MAX},
                                                    {0, INT64_MAX, INT64_MAX},
                                                    {INT64_MAX, INT64_MAX, 0},
                                                    {-1},
                                                    {-1, -1},
                                                    {1LL << 40},
                                                    std::vector<int64_t>(300, 1)};
  for (const auto& shape : shapes) {
    for (const char* name : {"whole_1", "grid"}) {
      Table table = checkpoint.table();
      BundleEntryProto entry;
      EXPECT_TRUE(entry.ParseFromString(table[name]));
      entry.clear_shape();
      for (int64_t dim : shape) entry.mutable_shape()->add_dim()->set_size(dim);
      table[name] = entry.SerializeAsString();
      checkpoint.WriteIndex(table);
      const absl::Status status = checkpoint.Load();
      EXPECT_TRUE(absl::IsDataLoss(status));
    }
  }
}

}  // namespace
}  // namespace autodist
