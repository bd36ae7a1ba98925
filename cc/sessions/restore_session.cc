// One restore of a cluster, as one of its tasks holds it while it is under way.

#include "sessions/restore_session.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"
#include "restore/group_loader.h"
#include "threads/block.h"
#include "threads/guarded.h"
#include "threads/parallel_blocks.h"

namespace autodist {

using tensorflow::Tensor;

namespace {

absl::Status Ended() {
  return absl::FailedPreconditionError("the restore was ended before this was done");
}

// What a plan does for the targets whose numbers `takes` accepts.
RestorePlan Select(const BundleIndex& index, const RestorePlan& plan,
                   const std::function<bool(int)>& takes) {
  RestorePlan selected;
  for (const Group& group : plan.groups) {
    Group some;
    some.name = group.name;
    some.dtype = group.dtype;
    // Of each target of `group` its number in `some`, or -1.
    std::vector<int> numbers(group.targets.size(), -1);
    for (size_t i = 0; i < group.targets.size(); ++i) {
      if (!takes(group.targets[i].number)) continue;
      numbers[i] = static_cast<int>(some.targets.size());
      some.targets.push_back(group.targets[i]);
    }
    if (some.targets.empty()) continue;
    for (const Piece& piece : group.pieces) {
      Piece kept{piece.entry, {}};
      int64_t end = 0;
      for (const Delivery& delivery : piece.deliveries) {
        const int number = numbers[delivery.target];
        if (number < 0) continue;
        end = std::max(end, delivery.runs.end_output());
        kept.deliveries.push_back({number, delivery.runs, end});
      }
      if (kept.deliveries.empty()) continue;
      some.size_bytes += index.entries[kept.entry].size_bytes;
      some.pieces.push_back(std::move(kept));
    }
    selected.groups.push_back(std::move(some));
  }
  return selected;
}

}  // namespace

RestoreSession::~RestoreSession() { Drop(/*withdraw=*/false); }

void RestoreSession::SetFiles(std::string prefix, int shard_count) {
  prefix_ = std::move(prefix);
  shard_count_ = shard_count;
  files_ = std::make_unique<DataFiles>(prefix_, shard_count_);
}

absl::StatusOr<std::vector<std::string>> RestoreSession::SetTargets(
    RestorePart part, std::vector<RestoreTarget> targets, std::vector<PinnedVariables> pins,
    bool swap) {
  const Gate::Visit visit(&setting_);
  if (!visit.is_inside()) return Ended();
  index_ = std::move(part.index);
  pins_ = std::move(pins);
  live_.assign(targets.size(), false);
  shapes_.resize(targets.size());
  targets_ = std::make_unique<VariableTargets>(std::move(targets));
  std::vector<std::string> unfit;
  for (const Group& group : part.plan.groups) {
    for (const Target& target : group.targets) {
      shapes_[target.number] = {group.dtype, target.shape()};
      const tensorflow::TensorShape shape = ShapeOf(target.shape());
      const absl::Status fits = targets_->CheckFits(target.number, group.dtype, shape);
      if (!fits.ok()) {
        unfit.push_back(
            absl::StrCat("tensor_name = ", absl::CHexEscape(group.name), "; ", fits.message()));
      }
      live_[target.number] = targets_->IsLive(target.number, group.dtype, shape);
    }
  }
  if (swap && unfit.empty() && ClaimNewMemory()) live_.assign(live_.size(), false);
  for (const bool live : {false, true}) {
    SubPlan& sub_plan = plans_[live];
    sub_plan.plan = Select(index_, part.plan, [&](int number) { return live_[number] == live; });
    for (size_t group = 0; group < sub_plan.plan.groups.size(); ++group) {
      const std::vector<Piece>& pieces = sub_plan.plan.groups[group].pieces;
      for (size_t piece = 0; piece < pieces.size(); ++piece) {
        sub_plan.places[pieces[piece].entry] = {static_cast<int>(group), static_cast<int>(piece)};
      }
    }
  }
  return unfit;
}

// Claims memory for those that are live.
bool RestoreSession::ClaimNewMemory() {
  int64_t live_bytes = 0, fresh_bytes = 0;
  for (size_t i = 0; i < shapes_.size(); ++i) {
    // The free memory of an accelerator is left to training.
    if (live_[i] && targets_->accelerator(static_cast<int>(i)) != nullptr) return false;
    const auto& [dtype, dims] = shapes_[i];
    (live_[i] ? live_bytes : fresh_bytes) +=
        ShapeOf(dims).num_elements() * SavedElementBytes(dtype);
  }
  auto budget = std::make_unique<MemoryBudget>();
  if (!budget->Claim(live_bytes, fresh_bytes).ok()) return false;
  budget_ = std::move(budget);
  return true;
}

bool RestoreSession::OpenFiles() {
  if (files_ == nullptr) return false;
  for (const SubPlan& sub_plan : plans_) {
    for (const Group& group : sub_plan.plan.groups) {
      for (const Piece& piece : group.pieces) {
        if (!files_->Open(index_.entries[piece.entry]).ok()) return false;
      }
    }
  }
  return true;
}

absl::StatusOr<std::vector<GroupLoader::TargetMemory>> RestoreSession::Memory(bool live,
                                                                              const Group& group) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<GroupLoader::TargetMemory> tensors;
  tensors.reserve(group.targets.size());
  for (const Target& target : group.targets) {
    const std::shared_ptr<Accelerator> accelerator = targets_->accelerator(target.number);
    if (filling_.is_closed()) return Ended();
    // Before a variable is taken, whose memory would be lost if there were no room to note it.
    std::optional<Tensor>& memory = memory_[target.number];
    if (memory) {
      tensors.push_back({*memory, accelerator});
      continue;
    }
    const tensorflow::TensorShape shape = ShapeOf(target.shape());
    absl::StatusOr<Tensor> tensor = live ? targets_->Take(target.number, group.dtype, shape)
                                         : targets_->Allocate(target.number, group.dtype, shape);
    if (!tensor.ok()) {
      return absl::Status(
          tensor.status().code(),
          absl::StrCat("tensor '", absl::CHexEscape(group.name), "': ", tensor.status().message()));
    }
    memory = *tensor;
    tensors.push_back({*std::move(tensor), accelerator});
  }
  return tensors;
}

absl::StatusOr<std::vector<uint32_t>> RestoreSession::Fill(bool live,
                                                           absl::Span<const Range> ranges,
                                                           absl::string_view bytes, int threads,
                                                           const std::atomic<bool>* cancelled) {
  return WhileFilling([&] { return FillInside(live, ranges, bytes, threads, cancelled); });
}

absl::StatusOr<std::vector<uint32_t>> RestoreSession::FillFrom(DataConnection* connection,
                                                               bool live,
                                                               absl::Span<const Range> ranges,
                                                               const std::atomic<bool>& cancelled) {
  return WhileFilling([&] { return ReceiveInside(connection, live, ranges, cancelled); });
}

template <typename Work>
absl::StatusOr<std::vector<uint32_t>> RestoreSession::WhileFilling(const Work& work) {
  const Gate::Visit visit(&filling_);
  if (!visit.is_inside()) return Ended();
  absl::StatusOr<std::vector<uint32_t>> sums = NoMemory();
  Guarded([&] {
    sums = work();
    return absl::OkStatus();
  }).IgnoreError();
  if (!sums.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    has_failed_ = true;
  }
  return sums;
}

struct RestoreSession::Blocks {
  struct Loader {
    std::unique_ptr<GroupLoader> loader;
    std::vector<size_t> numbers;  // of each of its ranges, among all
  };

  struct Block {
    GroupLoader* loader;
    int64_t number;  // for the loader
    size_t range;    // among all
  };

  // Waits until all is in the memory of the targets. Returns the sums of the ranges.
  absl::StatusOr<std::vector<uint32_t>> Finish(size_t range_count) const {
    std::vector<uint32_t> sums(range_count);
    for (const Loader& each : loaders) {
      const absl::Status status = each.loader->Finish();
      if (!status.ok()) return status;
      const std::vector<uint32_t> found = each.loader->RangeSums();
      for (size_t i = 0; i < found.size(); ++i) sums[each.numbers[i]] = found[i];
    }
    return sums;
  }

  // Of the loaders of a task that has none.
  std::unique_ptr<DataFiles> no_files = std::make_unique<DataFiles>("", 0);
  std::vector<Loader> loaders;
  std::vector<Block> blocks;
  std::vector<int64_t> places;  // of each range: how many bytes come before it
  int64_t size_bytes = 0;
};

absl::StatusOr<RestoreSession::Blocks> RestoreSession::BlocksOf(bool live,
                                                                absl::Span<const Range> ranges) {
  const SubPlan& sub_plan = plans_[live];
  // By group: which ranges are of it, in what order.
  struct GroupRanges {
    std::vector<PieceRange> ranges;
    std::vector<size_t> numbers;
  };
  std::map<int, GroupRanges> by_group;
  Blocks blocks;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto& [entry, begin, end] = ranges[i];
    const auto found = sub_plan.places.find(entry);
    if (found == sub_plan.places.end()) {
      return absl::InvalidArgumentError(absl::StrCat("entry ", entry, " is not restored here"));
    }
    const auto [group, piece] = found->second;
    const int64_t element_bytes = SavedElementBytes(sub_plan.plan.groups[group].dtype);
    if (begin < 0 || begin > end || end > index_.entries[entry].size_bytes ||
        begin % element_bytes != 0 || end % element_bytes != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("entry ", entry, " has no elements in bytes ", begin, " to ", end));
    }
    GroupRanges& of_group = by_group[group];
    of_group.ranges.push_back({piece, begin, end});
    of_group.numbers.push_back(i);
    blocks.places.push_back(blocks.size_bytes);
    blocks.size_bytes += end - begin;
  }
  for (auto& [number, of_group] : by_group) {
    const Group& group = sub_plan.plan.groups[number];
    const absl::StatusOr<std::vector<GroupLoader::TargetMemory>> memory = Memory(live, group);
    if (!memory.ok()) return memory.status();
    auto loader = std::make_unique<GroupLoader>(
        index_, files_ == nullptr ? *blocks.no_files : *files_, group, *memory, of_group.ranges);
    for (int64_t block = 0; block < loader->block_count(); ++block) {
      const size_t range = of_group.numbers[static_cast<size_t>(loader->range_of(block))];
      blocks.blocks.push_back({loader.get(), block, range});
    }
    blocks.loaders.push_back({std::move(loader), std::move(of_group.numbers)});
  }
  return blocks;
}

absl::Status RestoreSession::NoteBlock(int64_t size) {
  if (filling_.is_closed()) return Ended();
  progress_.Add(size);
  return budget_ == nullptr ? absl::OkStatus() : budget_->Note(size);
}

absl::StatusOr<std::vector<uint32_t>> RestoreSession::FillInside(
    bool live, absl::Span<const Range> ranges, absl::string_view bytes, int threads,
    const std::atomic<bool>* cancelled) {
  absl::StatusOr<Blocks> blocks = BlocksOf(live, ranges);
  if (!blocks.ok()) return blocks.status();
  if (bytes.data() == nullptr && files_ == nullptr) {
    return absl::InternalError("this task has no files to read");
  }
  if (bytes.data() != nullptr && blocks->size_bytes != static_cast<int64_t>(bytes.size())) {
    return absl::InvalidArgumentError(absl::StrCat(bytes.size(), " bytes were sent, but ",
                                                   blocks->size_bytes, " are to be taken"));
  }
  const absl::Status status = ForEachBlock(
      static_cast<int64_t>(blocks->blocks.size()), ReadingThreads(threads, blocks->size_bytes),
      cancelled, [&](int64_t number, char* buffer) -> absl::Status {
        const Blocks::Block& block = blocks->blocks[number];
        const absl::Status noted = NoteBlock(block.loader->size_of(block.number));
        if (!noted.ok()) return noted;
        if (bytes.data() == nullptr) return block.loader->Load(block.number, buffer);
        return block.loader->LoadFromRange(block.number,
                                           bytes.data() + blocks->places[block.range]);
      });
  if (!status.ok()) return status;
  return blocks->Finish(ranges.size());
}

absl::StatusOr<std::vector<uint32_t>> RestoreSession::ReceiveInside(
    DataConnection* connection, bool live, absl::Span<const Range> ranges,
    const std::atomic<bool>& cancelled) {
  absl::StatusOr<Blocks> blocks = BlocksOf(live, ranges);
  if (!blocks.ok()) return blocks.status();
  // As they are sent: range by range, and the blocks of a range are in their order.
  std::stable_sort(
      blocks->blocks.begin(), blocks->blocks.end(),
      [](const Blocks::Block& a, const Blocks::Block& b) { return a.range < b.range; });
  BlockBuffer buffer;
  if (buffer.data() == nullptr) return NoMemory();
  for (const Blocks::Block& block : blocks->blocks) {
    const int64_t size = block.loader->size_of(block.number);
    std::optional<absl::crc32c_t> announced;
    absl::Status status = NoteBlock(size);
    if (status.ok()) {
      status = block.loader->LoadBy(block.number, buffer.data(), [&](char* out) {
        const auto received = connection->Receive(out, size, cancelled);
        if (received.ok()) announced = *received;
        return received.status();
      });
    }
    if (status.ok() && announced && block.loader->crc_of(block.number) != *announced) {
      status = connection->WrongSum();
    }
    if (!status.ok()) return status;
  }
  return blocks->Finish(ranges.size());
}

absl::Status RestoreSession::Publish() {
  connections_.End();
  filling_.Close();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_ended_ || is_published_ || targets_ == nullptr) return Ended();
  if (has_failed_) {
    return absl::FailedPreconditionError(
        "some of the bytes could not be restored: nothing was published");
  }
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const int number = static_cast<int>(i);
    if (const auto found = memory_.find(number); found != memory_.end() && found->second) continue;
    const auto& [dtype, dims] = shapes_[i];
    const tensorflow::TensorShape shape = ShapeOf(dims);
    if (shape.num_elements() != 0) {
      return absl::InternalError(absl::StrCat("target ", i, " of the restore was not written"));
    }
    if (live_[i]) continue;
    const absl::Status status = targets_->Allocate(number, dtype, shape).status();
    if (!status.ok()) return status;
  }
  // Nobody else may refer to the memory of a variable that is updated in place.
  memory_.clear();
  const absl::Status status = targets_->Publish();
  is_published_ = status.ok();
  return status;
}

void RestoreSession::Drop(bool withdraw) {
  connections_.End();
  setting_.Close();
  filling_.Close();
  const std::lock_guard<std::mutex> lock(mutex_);
  is_ended_ = true;
  memory_.clear();
  if (targets_ == nullptr) return;
  if (!is_published_) {
    targets_->ForgetTaken();
  } else if (withdraw) {
    targets_->WithdrawAll();
  }
}

}  // namespace autodist
