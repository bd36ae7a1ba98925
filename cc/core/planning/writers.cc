// Which device writes which bytes of a data file that several devices write. The header tells how.

#include "core/planning/writers.h"

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <utility>

#include "core/boxes/box_index.h"
#include "core/boxes/row_major_range.h"
#include "core/boxes/slabs.h"
#include "core/boxes/tiling.h"
#include "core/planning/balance.h"
#include "core/planning/file_layout.h"

namespace autodist {
namespace {

// Slabs up to this size are cut only if there is no balance without.
constexpr int64_t kSmallBytes = 64 << 10;
// Of what two neighbours in a file write, this part may go to the other for the sake of a whole
// slab.
constexpr int64_t kTolerance = 50;
constexpr int64_t kPageBytes = 4096;

// A slab of a tensor, in bytes of the file.
struct TensorSlab {
  int tensor;
  int load;  // the one of all slabs that the same devices may write
  int64_t begin;
  int64_t end;
  size_t first_shard;  // in WritePlan::shards
  size_t last_shard;
};

std::string Problem(const HeldTensor& tensor, const std::string& text) {
  return "variable '" + tensor.name + "': " + text;
}

std::optional<std::string> CheckHolders(const HeldTensor& tensor, int device_count) {
  for (size_t i = 0; i < tensor.shards.size(); ++i) {
    const size_t first = tensor.first_holder[i];
    const size_t last = tensor.first_holder[i + 1];
    if (first == last) {
      return Problem(tensor, "no device holds shard " + tensor.shards[i].ToString());
    }
    for (size_t holder = first; holder < last; ++holder) {
      const int device = tensor.holders[holder];
      if (device >= 0 && device < device_count) continue;
      std::ostringstream text;
      text << "shard " << tensor.shards[i].ToString() << " is on device " << device << " of "
           << device_count;
      return Problem(tensor, text.str());
    }
  }
  return std::nullopt;
}

// Lays out the tensors and groups their slabs by the devices that may write them.
class Slabs {
 public:
  Slabs(int device_count, WritePlan* plan) : plan_(*plan), load_of_device_(device_count, -1) {
    plan_.offsets.push_back(0);
  }

  std::optional<std::string> Add(const HeldTensor& tensor) {
    const int number = static_cast<int>(plan_.offsets.size()) - 1;
    const auto slabs = layout_.Add(tensor.shape, tensor.element_bytes, tensor.shards);
    if (!slabs) {
      std::ostringstream text;
      text << "elements of " << tensor.element_bytes << " bytes in the shape "
           << DimsToString(tensor.shape) << " have no place in a file";
      return Problem(tensor, text.str());
    }
    for (const auto& [slab, begin, size] : *slabs) {
      const size_t first_shard = plan_.shards.size();
      plan_.shards.insert(plan_.shards.end(), slab.boxes.begin(), slab.boxes.end());
      const int load = LoadOf(tensor, slab);
      loads_[load].size += size;
      slabs_.push_back({number, load, begin, begin + size, first_shard, plan_.shards.size()});
    }
    plan_.offsets.push_back(layout_.size_bytes());
    return std::nullopt;
  }

  const std::vector<TensorSlab>& slabs() const { return slabs_; }  // ascending
  const std::vector<Load>& loads() const { return loads_; }

 private:
  int LoadOf(const HeldTensor& tensor, const Slab& slab) {
    std::vector<int> devices;
    for (int shard : slab.boxes) {
      devices.insert(devices.end(), tensor.holders.begin() + tensor.first_holder[shard],
                     tensor.holders.begin() + tensor.first_holder[shard + 1]);
    }
    std::sort(devices.begin(), devices.end());
    devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
    const int next = static_cast<int>(loads_.size());
    int* load = &load_of_device_[devices[0]];
    if (devices.size() > 1) load = &load_of_devices_.emplace(devices, -1).first->second;
    if (*load < 0) {
      *load = next;
      loads_.push_back({0, std::move(devices)});
    }
    return *load;
  }

  WritePlan& plan_;
  FileLayout layout_;
  std::vector<TensorSlab> slabs_;
  std::vector<Load> loads_;
  std::vector<int> load_of_device_;  // that no other may write; -1: none
  std::map<std::vector<int>, int> load_of_devices_;
};

// Gives the slabs to devices, each of which shall get what Balance() found for it.
class ShareOut {
 public:
  ShareOut(const std::vector<HeldTensor>& tensors, const std::vector<TensorSlab>& slabs,
           const std::vector<Load>& loads, int device_count)
      : tensors_(tensors),
        slabs_(slabs),
        loads_(loads),
        shares_(Balance(loads, device_count)),
        wanted_(device_count, 0),
        slabs_of_load_(loads.size()) {
    for (size_t i = 0; i < loads.size(); ++i) {
      for (size_t k = 0; k < loads[i].workers.size(); ++k) {
        wanted_[loads[i].workers[k]] += shares_[i][k];
      }
    }
    for (size_t i = 0; i < slabs.size(); ++i) {
      slabs_of_load_[slabs[i].load].push_back(static_cast<int>(i));
    }
  }

  void Run(WritePlan* plan) {
    Give(plan, /*keeps_small_slabs=*/true);
    const int64_t most = *std::max_element(wanted_.begin(), wanted_.end());
    const int64_t found = *std::max_element(plan->writer_bytes.begin(), plan->writer_bytes.end());
    if (found - most > most / 20) Give(plan, /*keeps_small_slabs=*/false);
    std::sort(plan->units.begin(), plan->units.end(),
              [](const WriteUnit& a, const WriteUnit& b) { return a.begin < b.begin; });
  }

 private:
  void Give(WritePlan* plan, bool keeps_small_slabs) {
    plan_ = plan;
    plan_->units.clear();
    plan_->writer_bytes.assign(wanted_.size(), 0);
    for (size_t load = 0; load < loads_.size(); ++load) GiveLoad(load, keeps_small_slabs);
  }

  // A device that has a share of a load, and where in the load that ends.
  struct Taker {
    int device;
    int64_t share;
    int64_t end;
  };

  void GiveLoad(size_t load, bool keeps_small_slabs) {
    std::vector<Taker> takers;
    int64_t end = 0;
    for (size_t k = 0; k < shares_[load].size(); ++k) {
      if (shares_[load][k] == 0) continue;
      end += shares_[load][k];
      takers.push_back({loads_[load].workers[k], shares_[load][k], end});
    }
    const Taker* taker = takers.data();
    const Taker* const last = taker + takers.size() - 1;
    int64_t position = 0;  // of the slab within the load
    for (int number : slabs_of_load_[load]) {
      const TensorSlab& slab = slabs_[number];
      const int64_t next = position + (slab.end - slab.begin);
      if (keeps_small_slabs && slab.end - slab.begin <= kSmallBytes && taker->end < next) {
        // The one who lacks most gets all of it.
        const Taker* chosen = taker;
        for (; taker != last && taker->end < next; ++taker) {
          if (Lacks(*(taker + 1)) > Lacks(*chosen)) chosen = taker + 1;
        }
        Add(slab, slab.begin, slab.end, *chosen);
      } else {
        int64_t begin = slab.begin;
        for (; taker != last && taker->end < next; ++taker) {
          const int64_t cut = Cut(slab, slab.begin + (taker->end - position), taker);
          if (cut > begin) Add(slab, begin, cut, *taker);
          begin = std::max(begin, cut);
        }
        if (begin < slab.end) Add(slab, begin, slab.end, *taker);
      }
      if (taker != last && taker->end == next) ++taker;
      position = next;
    }
  }

  int64_t Lacks(const Taker& taker) const {
    return wanted_[taker.device] - plan_->writer_bytes[taker.device];
  }

  // Where to cut a slab near `at`; the taker gets what is before, the next taker the rest. It is an
  // end of the slab if one is near, else the border of a page of the file if possible.
  int64_t Cut(const TensorSlab& slab, int64_t at, const Taker* taker) const {
    const int64_t tolerance = std::min(taker->share, taker[1].share) / kTolerance;
    if (at - slab.begin <= tolerance) return slab.begin;
    if (slab.end - at <= tolerance) return slab.end;
    const int64_t element_bytes = tensors_[slab.tensor].element_bytes;
    const int64_t page = (at + kPageBytes / 2) / kPageBytes * kPageBytes;
    if (tolerance >= kPageBytes && slab.begin < page && page < slab.end &&
        (page - slab.begin) % element_bytes == 0) {
      return page;
    }
    return at - (at - slab.begin) % element_bytes;
  }

  void Add(const TensorSlab& slab, int64_t begin, int64_t end, const Taker& taker) {
    plan_->units.push_back(
        {slab.tensor, taker.device, begin, end, slab.first_shard, slab.last_shard});
    plan_->writer_bytes[taker.device] += end - begin;
  }

  const std::vector<HeldTensor>& tensors_;
  const std::vector<TensorSlab>& slabs_;
  const std::vector<Load>& loads_;
  const std::vector<std::vector<int64_t>> shares_;
  std::vector<int64_t> wanted_;  // by device
  std::vector<std::vector<int>> slabs_of_load_;
  WritePlan* plan_ = nullptr;
};

// Finds which shards of its slab a part of it holds.
class PartShards {
 public:
  PartShards(const std::vector<HeldTensor>& tensors, WritePlan* plan)
      : tensors_(tensors), plan_(*plan) {}

  // REQUIRES: called for units in ascending order.
  void Find(const TensorSlab& slab, WriteUnit* unit) {
    if (slab.last_shard - slab.first_shard == 1) return;
    const HeldTensor& tensor = tensors_[slab.tensor];
    if (tensor_ != slab.tensor) {
      tensor_ = slab.tensor;
      index_ = std::make_unique<BoxIndex>(&tensor.shards);
    }
    if (slab_begin_ != slab.begin) {
      slab_begin_ = slab.begin;
      FindShared(slab, tensor);
    }
    const int64_t offset = plan_.offsets[slab.tensor];
    const std::vector<Box> ranges =
        BoxesOfRange(tensor.shape, (unit->begin - offset) / tensor.element_bytes,
                     (unit->end - offset) / tensor.element_bytes);
    std::vector<int> found;
    for (const Box& range : ranges) {
      if (MeetsAll(range)) return;
      const std::vector<int> some = index_->Find(range);
      found.insert(found.end(), some.begin(), some.end());
    }
    const auto comes_before = [&tensor](int a, int b) {
      return tensor.shards[a].start < tensor.shards[b].start;
    };
    if (!std::is_sorted(found.begin(), found.end(), comes_before)) {
      std::sort(found.begin(), found.end(), comes_before);
    }
    found.erase(std::unique(found.begin(), found.end()), found.end());
    // Mostly these follow each other in the slab's list.
    const auto list = plan_.shards.begin();
    auto first =
        std::lower_bound(list + slab.first_shard, list + slab.last_shard, found[0], comes_before);
    const auto room = static_cast<size_t>(list + slab.last_shard - first);
    if (found.size() > room || !std::equal(found.begin(), found.end(), first)) {
      first = plan_.shards.insert(plan_.shards.end(), found.begin(), found.end());
    }
    unit->first_shard = first - plan_.shards.begin();
    unit->last_shard = unit->first_shard + found.size();
  }

 private:
  // What the ranges of all shards of a slab have in common, axis by axis; may be nothing.
  void FindShared(const TensorSlab& slab, const HeldTensor& tensor) {
    const size_t rank = tensor.shape.size();
    starts_.assign(rank, 0);
    ends_ = tensor.shape;
    for (size_t i = slab.first_shard; i < slab.last_shard; ++i) {
      const Box& box = tensor.shards[plan_.shards[i]];
      for (size_t axis = 0; axis < rank; ++axis) {
        starts_[axis] = std::max(starts_[axis], box.start[axis]);
        ends_[axis] = std::min(ends_[axis], box.start[axis] + box.extent[axis]);
      }
    }
  }

  // True only if `range` meets each of them: it reaches the last to start and the first to end.
  bool MeetsAll(const Box& range) const {
    for (size_t axis = 0; axis < starts_.size(); ++axis) {
      if (range.start[axis] + range.extent[axis] <= starts_[axis]) return false;
      if (range.start[axis] >= ends_[axis]) return false;
    }
    return true;
  }

  const std::vector<HeldTensor>& tensors_;
  WritePlan& plan_;
  int tensor_ = -1;
  int64_t slab_begin_ = -1;
  std::unique_ptr<BoxIndex> index_;
  Dims starts_;
  Dims ends_;
};

}  // namespace

std::optional<std::string> PlanWriters(const std::vector<HeldTensor>& tensors, int device_count,
                                       WritePlan* plan) {
  *plan = WritePlan();
  Slabs slabs(device_count, plan);
  for (const HeldTensor& tensor : tensors) {
    if (auto problem = CheckTiling(tensor.shape, tensor.shards)) return Problem(tensor, *problem);
    if (auto problem = CheckHolders(tensor, device_count)) return problem;
    if (auto problem = slabs.Add(tensor)) return problem;
  }
  if (device_count == 0) return std::nullopt;
  ShareOut(tensors, slabs.slabs(), slabs.loads(), device_count).Run(plan);
  PartShards shards(tensors, plan);
  auto slab = slabs.slabs().begin();
  for (WriteUnit& unit : plan->units) {
    while (slab->end <= unit.begin) ++slab;
    if (unit.begin != slab->begin || unit.end != slab->end) shards.Find(*slab, &unit);
  }
  return std::nullopt;
}

}  // namespace autodist
