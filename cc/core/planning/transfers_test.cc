#include "core/planning/transfers.h"

#include "core/testing/testing.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::RandomShape;
using testing::RandomTiling;

TEST(RandomTilingsGiveEveryElementOnce) {
  std::mt19937 random(31);
  for (int round = 0; round < 1500; ++round) {
    const Dims shape = RandomShape(&random);
    const std::vector<Box> stored = RandomTiling(shape, &random);
    const std::vector<Box> wanted = RandomTiling(shape, &random);
    std::vector<std::vector<int64_t>> filled;
    for (const Box& box : wanted) filled.emplace_back(box.elements(), -1);
    int64_t count = 0;
    int last = 0;
    const auto problem = PlanTransfers(stored, wanted, [&](int from, int to, RunPlan runs) {
      EXPECT_TRUE(last <= to);
      last = to;
      const std::vector<int64_t> indices = FlatIndices(shape, stored[from]);
      runs.Visit(0, static_cast<int64_t>(indices.size()), [&](const Run& run) {
        count += run.count;
        for (int64_t i = 0; i < run.count; ++i) {
          filled[to].at(run.source + i) = indices.at(run.output + i);
        }
      });
    });
    EXPECT_EQ(problem, std::nullopt);
    EXPECT_EQ(count, Box::Whole(shape).elements());
    for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(filled[i], FlatIndices(shape, wanted[i]));
  }
}

TEST(WhatIsMissingIsTold) {
  const auto nothing = [](int, int, RunPlan) {};
  EXPECT_EQ(PlanTransfers({{{0, 0}, {4, 3}}, {{6, 0}, {4, 3}}}, {{{2, 0}, {6, 3}}}, nothing),
            std::optional<std::string>("within the slice [2, 8) x [0, 3), stored shards cover rows "
                                       "[0, 2) and [4, 6) of 6; rows [2, 4) are missing"));
}

}  // namespace
}  // namespace autodist
