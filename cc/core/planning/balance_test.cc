#include "core/planning/balance.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "core/testing/testing.h"

namespace autodist {
namespace {

std::vector<int64_t> Totals(const std::vector<Load>& loads, int worker_count) {
  std::vector<int64_t> totals(worker_count, 0);
  const std::vector<std::vector<int64_t>> taken = Balance(loads, worker_count);
  for (size_t i = 0; i < loads.size(); ++i) {
    int64_t sum = 0;
    for (size_t k = 0; k < taken[i].size(); ++k) {
      EXPECT_TRUE(taken[i][k] >= 0);
      totals[loads[i].workers[k]] += taken[i][k];
      sum += taken[i][k];
    }
    EXPECT_EQ(sum, loads[i].size);
  }
  return totals;
}

// What the busiest worker has at the least: some set of workers must do all that no other can.
double LeastPossible(const std::vector<Load>& loads, int worker_count) {
  double least = 0;
  for (int set = 1; set < 1 << worker_count; ++set) {
    int64_t sum = 0;
    for (const Load& load : loads) {
      const bool is_theirs = std::all_of(load.workers.begin(), load.workers.end(),
                                         [&](int worker) { return set >> worker & 1; });
      if (is_theirs) sum += load.size;
    }
    least = std::max(least, static_cast<double>(sum) / __builtin_popcount(set));
  }
  return least;
}

std::vector<int> RandomWorkers(int worker_count, std::mt19937* random) {
  std::vector<int> workers(worker_count);
  std::iota(workers.begin(), workers.end(), 0);
  std::shuffle(workers.begin(), workers.end(), *random);
  workers.resize(1 + (*random)() % worker_count);
  std::sort(workers.begin(), workers.end());
  return workers;
}

TEST(WhatOnlyOneCanTakeLeavesTheRestToOthers) {
  EXPECT_EQ(Totals({{60, {0}}, {40, {0, 1}}, {80, {1, 2}}}, 3), (std::vector<int64_t>{60, 60, 60}));
  EXPECT_EQ(Totals({{90, {0}}, {30, {0, 1}}}, 2), (std::vector<int64_t>{90, 30}));
}

TEST(NothingToDoAndNobodyToDoIt) {
  EXPECT_EQ(Totals({}, 0), std::vector<int64_t>{});
  EXPECT_EQ(Totals({{0, {0, 1}}}, 3), (std::vector<int64_t>{0, 0, 0}));
}

TEST(LoadsThatAreNotDividedGoToWhoHasLeast) {
  EXPECT_EQ(AssignWhole({{5, {0}}, {4, {2, 0, 1}}, {3, {1, 2}}, {2, {0, 1}}, {9, {2, 1}}}, 3),
            (std::vector<int>{0, 2, 1, 1, 2}));
  EXPECT_EQ(AssignWhole({{0, {1, 0}}, {0, {0, 1}}}, 2), (std::vector<int>{1, 0}));
  EXPECT_EQ(AssignWhole({}, 0), std::vector<int>{});
}

TEST(LoadsBeyondTheIntegers) {
  const int64_t large = INT64_MAX / 4;
  const std::vector<int64_t> totals = Totals({{large, {0, 1}}, {large, {1, 2}}}, 3);
  EXPECT_TRUE(*std::max_element(totals.begin(), totals.end()) < large / 10 * 7);
}

TEST(TheBusiestHasHardlyMoreThanItMust) {
  std::mt19937 random(11);
  for (int round = 0; round < 1000; ++round) {
    const int worker_count = 1 + static_cast<int>(random() % 7);
    std::vector<Load> loads(random() % 12);
    for (Load& load : loads) {
      load = {static_cast<int64_t>(random() % 100000), RandomWorkers(worker_count, &random)};
    }
    const std::vector<int64_t> totals = Totals(loads, worker_count);
    const auto most = static_cast<double>(*std::max_element(totals.begin(), totals.end()));
    EXPECT_TRUE(most <= 1.01 * LeastPossible(loads, worker_count) + 1);
  }
}

TEST(ARingOfAThousandOfUnequalLoadsBecomesEven) {
  std::mt19937 random(12);
  constexpr int kWorkers = 1000;
  std::vector<Load> loads;
  int64_t sum = 0;
  for (int i = 0; i < kWorkers; ++i) {
    const auto size = static_cast<int64_t>(1000000 + random() % 100000);
    loads.push_back({size, {std::min(i, (i + 1) % kWorkers), std::max(i, (i + 1) % kWorkers)}});
    sum += size;
  }
  const std::vector<int64_t> totals = Totals(loads, kWorkers);
  EXPECT_TRUE(*std::max_element(totals.begin(), totals.end()) * kWorkers <= sum / 100 * 103);
}

}  // namespace
}  // namespace autodist
