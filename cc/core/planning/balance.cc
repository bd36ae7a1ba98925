// Divides loads among workers, where each load can go to some of the workers only. The header tells
// how.

#include "core/planning/balance.h"

#include <algorithm>
#include <numeric>

namespace autodist {
namespace {

// Visits of a worker of a load; about a second.
constexpr int64_t kMostVisits = 30'000'000;
// Between looks at how good the division is.
constexpr int kSweepsPerLook = 4;

using Wide = __int128;

class Balancer {
 public:
  Balancer(const std::vector<Load>& loads, int worker_count)
      : loads_(loads), taken_(loads.size()), totals_(worker_count, 0) {
    for (size_t i = 0; i < loads_.size(); ++i) {
      taken_[i].assign(loads_[i].workers.size(), 0);
      if (loads_[i].workers.size() == 1) {
        taken_[i][0] = loads_[i].size;
        totals_[loads_[i].workers[0]] += loads_[i].size;
      } else {
        shared_.push_back(i);
        visits_per_sweep_ += static_cast<int64_t>(loads_[i].workers.size());
      }
    }
  }

  std::vector<std::vector<int64_t>> Run() {
    int64_t visits = 0;
    for (int sweep = 0; !shared_.empty() && visits < kMostVisits; ++sweep) {
      // There and back, so that what is too much at one end of a chain gets to the other.
      bool has_changed = false;
      for (size_t load : shared_) has_changed = Divide(load) || has_changed;
      std::reverse(shared_.begin(), shared_.end());
      visits += visits_per_sweep_;
      if (!has_changed || (sweep % kSweepsPerLook == 1 && IsGood())) break;
    }
    return std::move(taken_);
  }

 private:
  // Fills the workers of a load up to one level, those first that have least. Tells whether that
  // changed anything.
  bool Divide(size_t number) {
    const std::vector<int>& workers = loads_[number].workers;
    std::vector<int64_t>& taken = taken_[number];
    for (size_t i = 0; i < workers.size(); ++i) totals_[workers[i]] -= taken[i];
    order_.resize(workers.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(), [&](int a, int b) {
      const int64_t total_a = totals_[workers[a]];
      const int64_t total_b = totals_[workers[b]];
      return total_a != total_b ? total_a < total_b : a < b;
    });
    // The first `count` of them reach the level; the next has more already.
    Wide sum = loads_[number].size;
    int64_t count = 0;
    while (count < static_cast<int64_t>(order_.size())) {
      const int64_t next = totals_[workers[order_[count]]];
      if (count > 0 && static_cast<Wide>(next) * count >= sum) break;
      sum += next;
      ++count;
    }
    const auto level = static_cast<int64_t>(sum / count);
    const auto rest = static_cast<int64_t>(sum % count);
    bool has_changed = false;
    for (size_t i = 0; i < order_.size(); ++i) {
      const auto place = static_cast<int64_t>(i);
      int64_t& total = totals_[workers[order_[i]]];
      const int64_t share = place < count ? level + (place < rest ? 1 : 0) - total : 0;
      has_changed = has_changed || share != taken[order_[i]];
      taken[order_[i]] = share;
      total += share;
    }
    return has_changed;
  }

  // Whether the busiest worker has at most 1.01 times of what some must have, or one more. Looked
  // at are the busiest, the two busiest, the three busiest...: all that none but these can take is
  // theirs.
  bool IsGood() const {
    std::vector<int> by_total(totals_.size());
    std::iota(by_total.begin(), by_total.end(), 0);
    std::stable_sort(by_total.begin(), by_total.end(),
                     [&](int a, int b) { return totals_[a] > totals_[b]; });
    std::vector<int> rank(totals_.size());
    for (size_t i = 0; i < by_total.size(); ++i) rank[by_total[i]] = static_cast<int>(i);
    std::vector<int64_t> only_up_to(totals_.size(), 0);
    for (const Load& load : loads_) {
      int last = 0;
      for (int worker : load.workers) last = std::max(last, rank[worker]);
      only_up_to[last] += load.size;
    }
    const Wide busiest = totals_[by_total[0]];
    Wide sum = 0;
    for (size_t i = 0; i < only_up_to.size(); ++i) {
      sum += only_up_to[i];
      if ((busiest - 1) * 100 * static_cast<Wide>(i + 1) <= sum * 101) return true;
    }
    return false;
  }

  const std::vector<Load>& loads_;
  std::vector<size_t> shared_;  // loads with more than one worker
  int64_t visits_per_sweep_ = 0;
  std::vector<std::vector<int64_t>> taken_;
  std::vector<int64_t> totals_;  // by worker
  std::vector<int> order_;
};

}  // namespace

std::vector<std::vector<int64_t>> Balance(const std::vector<Load>& loads, int worker_count) {
  return Balancer(loads, worker_count).Run();
}

std::vector<int> AssignWhole(const std::vector<Load>& loads, int worker_count) {
  std::vector<int64_t> totals(worker_count, 0);
  std::vector<int> chosen;
  chosen.reserve(loads.size());
  for (const Load& load : loads) {
    chosen.push_back(*std::min_element(load.workers.begin(), load.workers.end(),
                                       [&](int a, int b) { return totals[a] < totals[b]; }));
    totals[chosen.back()] += load.size;
  }
  return chosen;
}

}  // namespace autodist
