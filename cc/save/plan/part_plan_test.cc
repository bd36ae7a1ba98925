// Plans over random layouts. The parts cover the file, and each task is asked only for what it
// holds. Tasks that follow the plan write what one machine would have written.

#include "save/plan/part_plan.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "absl/crc/crc32c.h"
#include "core/testing/testing.h"
#include "format/values/testing_tensors.h"
#include "save/data/captured_ranges.h"
#include "save/data/data_writer.h"
#include "save/data/unit_reader.h"
#include "save/plan/part_codec.h"
#include "save/plan/shared_blocks.h"
#include "threads/block.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using testing::Cut;
using testing::RandomShape;
using testing::RandomTensor;
using testing::RandomTiling;

class Values : public HeldValues {
 public:
  explicit Values(std::vector<Tensor> tensors) { tensors_ = std::move(tensors); }
};

class MemorySources : public Sources {
 public:
  explicit MemorySources(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                      Hold) override {
    return std::unique_ptr<HeldValues>(std::make_unique<Values>(*Snapshot(sources)));
  }

  absl::StatusOr<std::vector<Tensor>> Snapshot(absl::Span<const int> sources) override {
    std::vector<Tensor> picked;
    for (int source : sources) picked.push_back(tensors_[source]);
    return picked;
  }

 private:
  const std::vector<Tensor> tensors_;
};

// Variables in random shards and replicas on some tasks.
struct Model {
  SavePlan plan;
  std::vector<Tensor> sources;
  std::vector<int> tasks;
};

Model RandomModel(int task_count, std::mt19937* random) {
  Model model;
  for (int i = 0; i < 4; ++i) {
    const Dims shape = RandomShape(random);
    PlannedTensor planned;
    planned.name = std::string(1, 'a' + i);
    planned.dtype = i == 3 ? tensorflow::DT_STRING : tensorflow::DT_FLOAT;
    planned.shape = shape;
    const Tensor whole = RandomTensor(planned.dtype, shape, random);
    const int replicas = planned.dtype == tensorflow::DT_STRING ? 1 : 1 + (*random)() % 2;
    for (const Box& box : RandomTiling(shape, random)) {
      PlannedShard shard{box, {}};
      for (int replica = 0; replica < replicas; ++replica) {
        shard.sources.push_back(static_cast<int>(model.sources.size()));
        model.sources.push_back(Cut(whole, shape, box));
        // Strings are the chief's.
        model.tasks.push_back(planned.dtype == tensorflow::DT_STRING ? 0
                                                                     : (*random)() % task_count);
      }
      planned.shards.push_back(std::move(shard));
    }
    model.plan.tensors.push_back(std::move(planned));
  }
  return model;
}

std::vector<int64_t> EncodedBytes(const Model& model) {
  MemorySources sources(model.sources);
  return StreamBytes(*MakeStreams(model.plan, &sources));
}

// What one machine writes.
std::string WholeFile(const Model& model) {
  MemorySources sources(model.sources);
  auto streams = *MakeStreams(model.plan, &sources);
  const FilePlan file = PlanFile(model.plan, StreamBytes(streams), kBlockBytes);
  std::string bytes(file.size_bytes, 0);
  const auto crcs = WriteData(
      model.plan, file, &streams, &sources,
      [&](int64_t offset, absl::string_view data) {
        bytes.replace(offset, data.size(), data.data(), data.size());
        return absl::OkStatus();
      },
      1, nullptr);
  EXPECT_TRUE(crcs.ok());
  return bytes;
}

// A task that sends what it is told to.
std::string Send(const Model& model, int task, const std::vector<int64_t>& numbers) {
  std::string buffer;
  const auto reads = DecodeReads(numbers);
  EXPECT_TRUE(reads.ok());
  for (const PartRead& read : *reads) {
    EXPECT_EQ(model.tasks[read.source], task);
    const absl::string_view bytes = model.sources[read.source].tensor_data();
    const int64_t size = SavedElementBytes(model.sources[read.source].dtype());
    buffer.append(bytes.substr(read.first * size, read.count * size));
    buffer.resize(AlignedSize(static_cast<int64_t>(buffer.size())));
  }
  return buffer;
}

// A writer that does as it is told, with nothing but what its task holds and what is sent.
void Write(const Model& model, const Part& part, const DataSink& sink) {
  const EncodedParts encoded = EncodeParts(model.plan, {&part}, model.tasks);
  std::vector<std::string> buffers;
  for (const auto& [task, numbers] : encoded.read) buffers.push_back(Send(model, task, numbers));
  auto work = DecodeParts(encoded.write, {"name"}, kBlockBytes);
  EXPECT_TRUE(work.ok());
  std::vector<Tensor> values;
  for (const PartValue& value : work->values) {
    if (value.buffer == PartValue::kHeld) {
      EXPECT_EQ(model.tasks[value.source], part.writer);
      values.push_back(model.sources[value.source]);
      continue;
    }
    const auto dtype = work->plan.tensors[0].dtype;
    Tensor sent(dtype, tensorflow::TensorShape({value.count}));
    const std::string& buffer = buffers[value.buffer];
    std::memcpy(testing::BytesOf(sent), buffer.data() + value.offset, sent.tensor_data().size());
    values.push_back(std::move(sent));
  }
  MemorySources sources(std::move(values));
  auto streams = *MakeStreams(work->plan, &sources);
  std::string written(part.size_bytes, 0);
  const auto crcs = WriteData(
      work->plan, work->file, &streams, &sources,
      [&](int64_t offset, absl::string_view data) {
        written.replace(offset - part.offset, data.size(), data.data(), data.size());
        return sink(offset, data);
      },
      1, nullptr);
  EXPECT_TRUE(crcs.ok());
  // That of strings is not the bytes' own.
  if (work->plan.tensors[0].dtype == tensorflow::DT_STRING) return;
  EXPECT_EQ(crcs->crcs[0], static_cast<uint32_t>(absl::ComputeCrc32c(written)));
}

// The file, and who wrote each of its bytes.
struct File {
  explicit File(int64_t size_bytes) : bytes(size_bytes, 'x'), writers(size_bytes, -1) {}

  absl::Status Write(int task, int64_t offset, absl::string_view data) {
    bytes.replace(offset, data.size(), data.data(), data.size());
    for (size_t i = 0; i < data.size(); ++i) {
      EXPECT_EQ(writers[offset + i], -1);
      writers[offset + i] = task;
    }
    return absl::OkStatus();
  }

  std::string bytes;
  std::vector<int> writers;
};

// What tasks do for a part: its writer keeps what another is to write.
void WriteShared(const Model& model, const Part& part, CapturedRanges* given, File* file) {
  Write(model, part, [&](int64_t offset, absl::string_view data) {
    return given->Keep(offset, data, [&](int64_t rest, absl::string_view rest_data) {
      return file->Write(part.writer, rest, rest_data);
    });
  });
}

TEST(TasksWriteWhatOneMachineWouldHaveWritten) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int task_count = 1 + random() % 4;
    const Model model = RandomModel(task_count, &random);
    PartOptions options;
    options.part_bytes = 4 << random() % 8;
    options.group_bytes = 64 << random() % 6;
    options.block_bytes = 1 << random() % 9;
    for (int task = 0; task < task_count; ++task) options.writers.push_back(random() % 2 == 0);
    const PartPlan plan = PlanParts(model.plan, EncodedBytes(model), model.tasks, options);
    const std::string expected = WholeFile(model);
    EXPECT_EQ(plan.size_bytes, static_cast<int64_t>(expected.size()));
    const SharedBlocks shared = ShareBlocks(plan.parts, options.block_bytes);
    std::map<int, std::vector<int64_t>> ranges;
    for (const Handover& handover : shared.handovers) {
      ranges[handover.from].insert(ranges[handover.from].end(), {handover.begin, handover.end});
    }
    std::map<int, CapturedRanges> given;
    for (const auto& [task, of_task] : ranges) EXPECT_TRUE(given[task].Set(of_task).ok());
    File file(static_cast<int64_t>(expected.size()));
    int64_t end = 0;
    for (const Part& part : plan.parts) {
      EXPECT_EQ(part.offset, end);
      end += part.size_bytes;
      EXPECT_TRUE(part.writer == 0 || options.writers[part.writer]);
      EXPECT_TRUE(part.size_bytes <= std::max<int64_t>(options.part_bytes, 4) ||
                  part.group == Part::kDirect);
      WriteShared(model, part, &given[part.writer], &file);
    }
    EXPECT_EQ(end, plan.size_bytes);
    for (const Handover& handover : shared.handovers) {
      EXPECT_TRUE(handover.to == 0 || options.writers[handover.to]);
      const auto bytes = given[handover.from].Take(handover.begin, handover.end);
      EXPECT_TRUE(bytes.ok() && file.Write(handover.to, handover.begin, *bytes).ok());
    }
    EXPECT_TRUE(file.bytes == expected);
    for (int64_t i = 0; i < end; ++i) {
      EXPECT_EQ(file.writers[i], file.writers[i - i % options.block_bytes]);
    }
  }
}

TEST(PartsThatAreSentEndWithABlock) {
  SavePlan plan;
  PlannedTensor planned;
  planned.dtype = tensorflow::DT_FLOAT;
  for (const Dims& shape : {Dims{3}, Dims{1000, 100}}) {
    planned.name += "w";
    planned.shape = shape;
    planned.shards = {{Box::Whole(shape), {0, 1}}};
    plan.tensors.push_back(planned);
  }
  PartOptions options;
  options.writers = {true, true};
  options.part_bytes = 20000;
  options.group_bytes = 1 << 30;
  options.block_bytes = 4096;
  const PartPlan parts = PlanParts(plan, {0, 0}, {0, 1}, options);
  for (size_t i = 1; i + 1 < parts.parts.size(); ++i) {
    const Part& part = parts.parts[i];
    EXPECT_EQ((part.offset + part.size_bytes) % options.block_bytes, 0);
    EXPECT_TRUE(part.size_bytes > options.part_bytes - options.block_bytes);
  }
  // Only the block that both variables lie in.
  EXPECT_TRUE(ShareBlocks(parts.parts, options.block_bytes).handovers.size() <= 1);
}

TEST(ASourceIsSentInOneGroupOnly) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    const Model model = RandomModel(3, &random);
    PartOptions options;
    options.part_bytes = 16;
    options.group_bytes = 128;
    const PartPlan plan = PlanParts(model.plan, EncodedBytes(model), model.tasks, options);
    std::map<int, std::set<int>> groups;
    int last = 0;
    for (const Part& part : plan.parts) {
      if (part.group == Part::kDirect) continue;
      EXPECT_TRUE(part.group >= last && part.group < plan.group_count);
      last = part.group;
      for (const PartSource& source : part.sources) groups[source.source].insert(part.group);
    }
    for (const auto& [source, of_source] : groups) EXPECT_EQ(of_source.size(), size_t{1});
  }
}

TEST(WhatAllHoldIsWrittenByAllAlike) {
  SavePlan plan;
  PlannedTensor planned;
  planned.name = "w";
  planned.dtype = tensorflow::DT_FLOAT;
  planned.shape = {1000, 1000};
  planned.shards.push_back({Box::Whole(planned.shape), {0, 1, 2, 3}});
  plan.tensors.push_back(planned);
  PartOptions options;
  options.writers = {true, true, true, true};
  options.part_bytes = 10000;
  options.group_bytes = 1 << 30;
  const PartPlan parts = PlanParts(plan, {0}, {0, 1, 2, 3}, options);
  std::map<int, int64_t> written;
  for (const Part& part : parts.parts) written[part.writer] += part.size_bytes;
  for (const auto& [task, bytes] : written) EXPECT_EQ(bytes, 1000000);
  EXPECT_EQ(written.size(), size_t{4});
}

// A variable of floats, each replica of it on one of the tasks.
void AddReplicas(const std::vector<int>& on, int64_t elements, SavePlan* plan,
                 std::vector<int>* tasks) {
  PlannedTensor planned;
  planned.name = "w";
  planned.dtype = tensorflow::DT_FLOAT;
  planned.shape = {elements};
  PlannedShard shard{Box::Whole(planned.shape), {}};
  for (int task : on) {
    shard.sources.push_back(static_cast<int>(tasks->size()));
    tasks->push_back(task);
  }
  planned.shards.push_back(std::move(shard));
  plan->tensors.push_back(std::move(planned));
}

std::vector<int64_t> BytesByTask(const PartPlan& parts, int task_count) {
  std::vector<int64_t> bytes(task_count, 0);
  for (const Part& part : parts.parts) bytes[part.writer] += part.size_bytes;
  return bytes;
}

TEST(ATaskWithMoreToComeWritesLessOfWhatOthersCanWrite) {
  // Of the second, which is also on a task that does not write, only task 0 can write.
  SavePlan plan;
  std::vector<int> tasks;
  AddReplicas({0, 1}, 1'000'000, &plan, &tasks);
  AddReplicas({0, 2}, 1'000'000, &plan, &tasks);
  PartOptions options;
  options.writers = {true, true, false};
  options.part_bytes = 10'000;
  options.group_bytes = 1 << 30;
  const std::vector<int64_t> bytes = BytesByTask(PlanParts(plan, {0, 0}, tasks, options), 3);
  EXPECT_TRUE(bytes == (std::vector<int64_t>{4'000'000, 4'000'000, 0}));
}

TEST(TasksInAChainWriteAlike) {
  // 0 and 1 share much, 1 and 2 and 2 and 3 little: 1 leaves the little to 2 and 3.
  SavePlan plan;
  std::vector<int> tasks;
  AddReplicas({2, 3}, 500'000, &plan, &tasks);
  AddReplicas({1, 2}, 1'000'000, &plan, &tasks);
  AddReplicas({0, 1}, 2'500'000, &plan, &tasks);
  PartOptions options;
  options.writers = {true, true, true, true};
  options.part_bytes = 10'000;
  options.group_bytes = 1 << 30;
  const std::vector<int64_t> bytes = BytesByTask(PlanParts(plan, {0, 0, 0}, tasks, options), 4);
  EXPECT_TRUE(*std::max_element(bytes.begin(), bytes.end()) < 5'300'000);
}

TEST(SmallVariablesOnManyPairsOfTasksAreSharedOut) {
  SavePlan plan;
  std::vector<int> tasks;
  for (int i = 0; i < 1000; ++i) AddReplicas({i % 3, (i + 1) % 3}, 1000, &plan, &tasks);
  PartOptions options;
  options.writers = {true, true, true};
  options.part_bytes = 1 << 20;
  options.group_bytes = 1 << 30;
  const std::vector<int64_t> bytes =
      BytesByTask(PlanParts(plan, std::vector<int64_t>(1000, 0), tasks, options), 3);
  for (int64_t of_task : bytes) EXPECT_TRUE(of_task > 1'320'000 && of_task < 1'346'000);
}

TEST(WhoeverWritesIsAtWorkAllTheTime) {
  SavePlan plan;
  std::vector<int> tasks;
  AddReplicas({0, 1}, 1'000'000, &plan, &tasks);
  PartOptions options;
  options.writers = {true, true};
  options.part_bytes = 10'000;
  options.group_bytes = 1 << 30;
  const PartPlan parts = PlanParts(plan, {0}, tasks, options);
  for (size_t i = 1; i < parts.parts.size(); ++i) {
    EXPECT_TRUE(parts.parts[i].writer != parts.parts[i - 1].writer);
  }
}

TEST(NumbersThatNobodyEncodedAreRefused) {
  std::mt19937 random(3);
  const Model model = RandomModel(2, &random);
  PartOptions options;
  options.part_bytes = 64;
  options.group_bytes = 1 << 20;
  const PartPlan plan = PlanParts(model.plan, EncodedBytes(model), model.tasks, options);
  for (const Part& part : plan.parts) {
    const EncodedParts encoded = EncodeParts(model.plan, {&part}, model.tasks);
    for (size_t i = 0; i < encoded.write.size(); ++i) {
      for (int64_t wrong : {int64_t{-2}, int64_t{1} << 40, INT64_MAX}) {
        std::vector<int64_t> numbers = encoded.write;
        numbers[i] = wrong;
        // Whatever it makes of them, it neither crashes nor asks for memory without bound.
        DecodeParts(numbers, {"name"}, kBlockBytes).IgnoreError();
      }
      std::vector<int64_t> cut(encoded.write.begin(), encoded.write.begin() + i);
      EXPECT_TRUE(!DecodeParts(cut, {"name"}, kBlockBytes).ok());
    }
  }
  EXPECT_TRUE(!DecodeReads({2, 0, 0, 1}).ok());
  EXPECT_TRUE(!DecodeReads({1, 0, -1, 1}).ok());
  EXPECT_TRUE(DecodeReads({1, 0, 1, 1}).ok());
}

}  // namespace
}  // namespace autodist
