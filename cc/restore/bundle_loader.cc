// Reads a checkpoint into shards and replicas, in one pass or two. The header tells when.

#include "restore/bundle_loader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "format/reader/data_files.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"
#include "restore/load_pass.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

// Most names that a message lists.
constexpr size_t kMostNames = 8;

// Returns `error` with the names of what a pass wrote to before it failed.
absl::Status WithWithdrawn(const RestorePlan& plan, const LoadPass& pass,
                           const absl::Status& error) {
  std::vector<std::string> names;
  size_t count = 0;
  for (size_t i = 0; i < plan.groups.size(); ++i) {
    if (!pass.was_opened(i)) continue;
    if (++count <= kMostNames) names.push_back(absl::StrCat("'", plan.groups[i].name, "'"));
  }
  if (count == 0) return error;
  if (count > names.size()) names.push_back(absl::StrCat("and ", count - names.size(), " more"));
  return absl::Status(
      error.code(),
      absl::StrCat(error.message(),
                   "\nIt was right when it was read before, and was being restored. What "
                   "takes these tensors has no value now, all else has its former: ",
                   absl::StrJoin(names, ", ")));
}

// Takes away the values of all live targets that a failed pass wrote to. So no target holds another
// state than the rest. Returns the error, which then says so.
absl::Status Withdraw(LoadState* load, const LoadPass& pass, const absl::Status& error) {
  // Before anything that may fail.
  for (size_t i = 0; i < load->plan.groups.size(); ++i) {
    if (!pass.was_opened(i)) continue;
    const std::vector<Target>& targets = load->plan.groups[i].targets;
    for (size_t target = 0; target < targets.size(); ++target) {
      if (load->is_live[i][target]) load->targets.Withdraw(targets[target].number);
    }
  }
  absl::Status result = error;
  Guarded([&] {
    result = WithWithdrawn(load->plan, pass, error);
    return absl::OkStatus();
  }).IgnoreError();
  return result;
}

// What the live targets of a plan take, and the others.
struct TargetBytes {
  int64_t live = 0;
  int64_t fresh = 0;
};

TargetBytes TargetBytesOf(const LoadState& load) {
  TargetBytes bytes;
  for (size_t i = 0; i < load.plan.groups.size(); ++i) {
    const Group& group = load.plan.groups[i];
    const int64_t element_bytes = SavedElementBytes(group.dtype);
    for (size_t target = 0; target < group.targets.size(); ++target) {
      (load.is_live[i][target] ? bytes.live : bytes.fresh) +=
          group.targets[target].box.elements() * element_bytes;
    }
  }
  return bytes;
}

// Opens the files of a plan, and looks which targets are live.
absl::Status Prepare(DataFiles* files, LoadState* load) {
  for (const Group& group : load->plan.groups) {
    for (const Piece& piece : group.pieces) {
      const absl::Status status = files->Open(load->index.entries[piece.entry]);
      if (!status.ok()) return status;
    }
    std::vector<bool> is_live;
    for (const Target& target : group.targets) {
      is_live.push_back(group.dtype != tensorflow::DT_STRING &&
                        load->targets.IsLive(target.number, group.dtype, ShapeOf(target.shape())));
    }
    load->has_live.push_back(std::find(is_live.begin(), is_live.end(), true) != is_live.end());
    load->is_live.push_back(std::move(is_live));
  }
  return absl::OkStatus();
}

// Returns how many bytes were read.
absl::StatusOr<int64_t> LoadInOnePass(LoadState* load, MemoryBudget* budget,
                                      const LoadOptions& options) {
  LoadPass pass(load, {/*fresh=*/true, /*live=*/true}, budget, options.progress, options.cancelled);
  if (options.progress != nullptr) options.progress->Begin(pass.size_bytes());
  const absl::Status status = pass.Run(options.threads);
  if (!status.ok()) return status;
  return pass.size_bytes();
}

absl::StatusOr<int64_t> LoadInTwoPasses(LoadState* load, const LoadOptions& options) {
  LoadPass first(load, {/*fresh=*/true, /*live=*/false}, nullptr, options.progress,
                 options.cancelled);
  // Half of a restore is worse than a late end of one that was cancelled.
  LoadPass second(load, {/*fresh=*/false, /*live=*/true}, nullptr, options.progress,
                  /*cancelled=*/nullptr);
  const int64_t size_bytes = first.size_bytes() + second.size_bytes();
  if (options.progress != nullptr) options.progress->Begin(size_bytes);
  absl::Status status = first.Run(options.threads);
  if (!status.ok()) return status;
  status = second.Run(options.threads);
  if (!status.ok()) return Withdraw(load, second, status);
  return size_bytes;
}

// Fills new memory for all targets. ResourceExhausted if there is not enough: then no target has
// new memory.
absl::StatusOr<int64_t> LoadToSwap(const LoadState& load, const LoadOptions& options) {
  for (size_t i = 0; i < load.plan.groups.size(); ++i) {
    const Group& group = load.plan.groups[i];
    for (size_t target = 0; target < group.targets.size(); ++target) {
      const auto accelerator = load.targets.accelerator(group.targets[target].number);
      if (accelerator == nullptr || !load.is_live[i][target]) continue;
      return absl::ResourceExhaustedError(absl::StrCat("variable '", group.name, "' is on ",
                                                       accelerator->name(),
                                                       ", whose free memory is left to training"));
    }
  }
  const TargetBytes bytes = TargetBytesOf(load);
  MemoryBudget budget(options.available_memory);
  const absl::Status claimed = budget.Claim(bytes.live, bytes.fresh);
  if (!claimed.ok()) return claimed;
  LoadState all_new{load.index, load.plan, load.files, load.targets};
  all_new.has_live.assign(load.has_live.size(), false);
  for (const std::vector<bool>& group : load.is_live) all_new.is_live.emplace_back(group.size());
  absl::StatusOr<int64_t> read_bytes = LoadInOnePass(&all_new, &budget, options);
  if (absl::IsResourceExhausted(read_bytes.status())) {
    for (const Group& group : load.plan.groups) {
      for (const Target& target : group.targets) load.targets.Discard(target.number);
    }
  }
  return read_bytes;
}

}  // namespace

absl::StatusOr<LoadReport> LoadBundle(const std::string& prefix, const BundleIndex& index,
                                      const RestorePlan& plan, RestoreTargets* targets,
                                      const LoadOptions& options) {
  DataFiles files(prefix, index.shard_count);
  LoadState load{index, plan, files, *targets};
  const absl::Status status = Prepare(&files, &load);
  if (!status.ok()) return status;
  const bool any_live =
      std::find(load.has_live.begin(), load.has_live.end(), true) != load.has_live.end();
  LoadReport report;
  if (any_live && options.verify == Verify::kSwap) {
    const absl::StatusOr<int64_t> read_bytes = LoadToSwap(load, options);
    if (read_bytes.ok()) return LoadReport{*read_bytes, ""};
    if (!absl::IsResourceExhausted(read_bytes.status())) return read_bytes.status();
    report.no_swap = std::string(read_bytes.status().message());
  }
  const bool in_one_pass = !any_live || options.verify == Verify::kDuring;
  const absl::StatusOr<int64_t> read_bytes =
      in_one_pass ? LoadInOnePass(&load, nullptr, options) : LoadInTwoPasses(&load, options);
  if (!read_bytes.ok()) return read_bytes.status();
  report.read_bytes = *read_bytes;
  return report;
}

}  // namespace autodist
