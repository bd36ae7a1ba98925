#include "core/planning/writers.h"

#include <algorithm>
#include <numeric>

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::RandomShape;
using testing::RandomTiling;

HeldTensor Tensor(const Dims& shape, int64_t element_bytes, const std::vector<Box>& shards,
                  const std::vector<std::vector<int>>& holders) {
  HeldTensor tensor{"v", shape, element_bytes, shards, {0}, {}};
  for (const std::vector<int>& of_shard : holders) {
    tensor.holders.insert(tensor.holders.end(), of_shard.begin(), of_shard.end());
    tensor.first_holder.push_back(tensor.holders.size());
  }
  return tensor;
}

WritePlan Plan(const std::vector<HeldTensor>& tensors, int device_count) {
  WritePlan plan;
  EXPECT_EQ(PlanWriters(tensors, device_count, &plan), std::nullopt);
  return plan;
}

std::vector<int> ShardsOf(const WritePlan& plan, const WriteUnit& unit) {
  return {plan.shards.begin() + unit.first_shard, plan.shards.begin() + unit.last_shard};
}

int64_t Most(const WritePlan& plan) {
  return *std::max_element(plan.writer_bytes.begin(), plan.writer_bytes.end());
}

TEST(ShardsOfOneHolderEachAreWrittenByIt) {
  const WritePlan plan =
      Plan({Tensor({8, 2}, 4, {{{0, 0}, {5, 2}}, {{5, 0}, {3, 2}}}, {{1}, {0}})}, 2);
  EXPECT_EQ(plan.units.size(), 2u);
  EXPECT_EQ(plan.units[0].writer, 1);
  EXPECT_EQ(plan.units[0].end, 40);
  EXPECT_EQ(ShardsOf(plan, plan.units[1]), std::vector<int>{1});
  EXPECT_EQ(plan.writer_bytes, (std::vector<int64_t>{24, 40}));
  EXPECT_EQ(plan.offsets, (std::vector<int64_t>{0, 64}));
}

TEST(AReplicatedTensorIsDividedAmongItsHolders) {
  const WritePlan plan = Plan({Tensor({1 << 20}, 4, {Box::Whole({1 << 20})}, {{0, 1, 2, 3}})}, 4);
  EXPECT_EQ(plan.units.size(), 4u);
  for (const WriteUnit& unit : plan.units) {
    EXPECT_EQ(unit.begin % 4096, 0);
    EXPECT_EQ(ShardsOf(plan, unit), std::vector<int>{0});
  }
  EXPECT_TRUE(Most(plan) <= (1 << 20) * 102 / 100);
}

TEST(WhatSomeMustWriteLeavesTheReplicatedToOthers) {
  const Dims shape = {1000000};
  const WritePlan plan = Plan({Tensor(shape, 1, {Box::Whole(shape)}, {{0}}),
                               Tensor(shape, 1, {Box::Whole(shape)}, {{0, 1, 2}})},
                              3);
  EXPECT_EQ(plan.writer_bytes[0], 1000000);
  EXPECT_TRUE(Most(plan) == 1000000);
  EXPECT_TRUE(plan.writer_bytes[1] > 480000 && plan.writer_bytes[2] > 480000);
}

TEST(SmallTensorsAreNotCutWhereThereAreManyOfThem) {
  const Box whole = Box::Whole({1000});
  const std::vector<HeldTensor> tensors(500, Tensor({1000}, 4, {whole}, {{0, 1, 2, 3, 4, 5, 6}}));
  const WritePlan plan = Plan(tensors, 7);
  EXPECT_EQ(plan.units.size(), 500u);
  EXPECT_TRUE(Most(plan) * 7 <= 500 * 4000 / 100 * 105);
}

TEST(ColumnsAreDividedAsTheyLieInTheFile) {
  const Dims shape = {3, 4};
  const WritePlan plan =
      Plan({Tensor(shape, 4, {{{0, 0}, {3, 2}}, {{0, 2}, {3, 2}}}, {{0}, {1}})}, 2);
  EXPECT_EQ(plan.units.size(), 2u);
  EXPECT_EQ(plan.units[0].end, 24);
  EXPECT_EQ(ShardsOf(plan, plan.units[0]), (std::vector<int>{0, 1}));
}

TEST(WhatIsWrongIsTold) {
  WritePlan plan;
  const auto problem = [&plan](const HeldTensor& tensor, int device_count) {
    return PlanWriters({tensor}, device_count, &plan).value_or("nothing");
  };
  EXPECT_EQ(problem(Tensor({4}, 4, {{{0}, {3}}}, {{0}}), 1),
            std::string("variable 'v': shards cover rows [0, 3) of 4; rows [3, 4) are missing"));
  EXPECT_EQ(problem(Tensor({4}, 4, {{{0}, {4}}}, {{2}}), 2),
            std::string("variable 'v': shard [0, 4) is on device 2 of 2"));
  EXPECT_EQ(problem(Tensor({4}, 4, {{{0}, {4}}}, {{}}), 2),
            std::string("variable 'v': no device holds shard [0, 4)"));
  EXPECT_EQ(
      problem(Tensor({4}, 0, {{{0}, {4}}}, {{0}}), 2),
      std::string("variable 'v': elements of 0 bytes in the shape [4] have no place in a file"));
  EXPECT_EQ(problem(Tensor({INT64_MAX}, 4, {{{0}, {INT64_MAX}}}, {{0}}), 2),
            std::string("variable 'v': elements of 4 bytes in the shape [9223372036854775807] have "
                        "no place in a file"));
}

TEST(NoTensorsNeedNoDevices) {
  const WritePlan plan = Plan({}, 0);
  EXPECT_EQ(plan.units.size(), 0u);
  EXPECT_EQ(plan.offsets, std::vector<int64_t>{0});
}

std::vector<std::vector<int>> RandomHolders(size_t shard_count, int device_count,
                                            std::mt19937* random) {
  std::vector<std::vector<int>> holders(shard_count);
  for (std::vector<int>& of_shard : holders) {
    of_shard.resize(device_count);
    std::iota(of_shard.begin(), of_shard.end(), 0);
    std::shuffle(of_shard.begin(), of_shard.end(), *random);
    of_shard.resize(1 + (*random)() % device_count);
  }
  return holders;
}

// The shards with an element in the unit, found one by one.
std::vector<int> ShardsIn(const HeldTensor& tensor, int64_t begin, int64_t end) {
  std::vector<int> found;
  for (size_t shard = 0; shard < tensor.shards.size(); ++shard) {
    for (int64_t index : FlatIndices(tensor.shape, tensor.shards[shard])) {
      if (index < begin || index >= end) continue;
      found.push_back(static_cast<int>(shard));
      break;
    }
  }
  return found;
}

bool Holds(const HeldTensor& tensor, int shard, int device) {
  return std::count(tensor.holders.begin() + tensor.first_holder[shard],
                    tensor.holders.begin() + tensor.first_holder[shard + 1], device) > 0;
}

// What the busiest device must write at the least: what a set of devices alone may.
double LeastPossible(const std::vector<HeldTensor>& tensors, const WritePlan& plan,
                     int device_count) {
  std::vector<std::pair<int64_t, int>> slabs;  // bytes, devices as a set
  for (const WriteUnit& unit : plan.units) {
    int devices = 0;
    for (int device = 0; device < device_count; ++device) {
      for (int shard : ShardsOf(plan, unit)) {
        if (Holds(tensors[unit.tensor], shard, device)) devices |= 1 << device;
      }
    }
    slabs.emplace_back(unit.end - unit.begin, devices);
  }
  double least = 0;
  for (int set = 1; set < 1 << device_count; ++set) {
    int64_t sum = 0;
    for (const auto& [bytes, devices] : slabs) sum += (devices & ~set) == 0 ? bytes : 0;
    least = std::max(least, static_cast<double>(sum) / __builtin_popcount(set));
  }
  return least;
}

TEST(RandomTensorsAreWrittenOnceByThoseWhoHoldThem) {
  std::mt19937 random(5);
  for (int round = 0; round < 600; ++round) {
    const int device_count = 1 + static_cast<int>(random() % 5);
    const int64_t element_bytes = 1 + static_cast<int64_t>(random() % 16);
    std::vector<HeldTensor> tensors;
    for (size_t i = 0; i <= random() % 4; ++i) {
      const Dims shape = RandomShape(&random);
      const std::vector<Box> shards = RandomTiling(shape, &random);
      tensors.push_back(Tensor(shape, element_bytes, shards,
                               RandomHolders(shards.size(), device_count, &random)));
    }
    const WritePlan plan = Plan(tensors, device_count);
    int64_t next = 0;
    std::vector<int64_t> writer_bytes(device_count, 0);
    for (const WriteUnit& unit : plan.units) {
      const HeldTensor& tensor = tensors[unit.tensor];
      EXPECT_EQ(unit.begin, next);
      next = unit.end;
      writer_bytes[unit.writer] += unit.end - unit.begin;
      const int64_t offset = plan.offsets[unit.tensor];
      EXPECT_EQ((unit.begin - offset) % element_bytes, 0);
      std::vector<int> shards = ShardsOf(plan, unit);
      std::sort(shards.begin(), shards.end());
      EXPECT_EQ(shards, ShardsIn(tensor, (unit.begin - offset) / element_bytes,
                                 (unit.end - offset) / element_bytes));
    }
    EXPECT_EQ(next, plan.offsets.back());
    EXPECT_EQ(writer_bytes, plan.writer_bytes);
    // Cuts are between elements, one per device and kind of slab.
    const double slack = 20.0 * static_cast<double>(element_bytes);
    EXPECT_TRUE(static_cast<double>(Most(plan)) <=
                1.06 * LeastPossible(tensors, plan, device_count) + slack);
  }
}

TEST(ThePlanOfLargeTensorsIsBalanced) {
  std::mt19937 random(6);
  for (int round = 0; round < 300; ++round) {
    const int device_count = 2 + static_cast<int>(random() % 5);
    std::vector<HeldTensor> tensors;
    for (size_t i = 0; i <= random() % 30; ++i) {
      const Dims shape = {static_cast<int64_t>(1 + random() % 3000), 64};
      std::vector<Box> shards = RandomTiling(shape, &random);
      const auto holders = RandomHolders(shards.size(), device_count, &random);
      tensors.push_back(Tensor(shape, 4, shards, holders));
    }
    const WritePlan plan = Plan(tensors, device_count);
    EXPECT_TRUE(static_cast<double>(Most(plan)) <=
                1.06 * LeastPossible(tensors, plan, device_count) + 1000);
  }
}

}  // namespace
}  // namespace autodist
