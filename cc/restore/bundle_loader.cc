// Reads a checkpoint into shards and replicas: every byte once, in any number of threads, through
// one block of memory each. See job_queue.h for how the threads share the work.

#include "restore/bundle_loader.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "format/reader/data_files.h"
#include "format/reader/string_decoder.h"
#include "format/values/shape_and_slice.h"
#include "restore/group_loader.h"
#include "threads/block.h"
#include "threads/guarded.h"
#include "threads/job_threads.h"

namespace autodist {
namespace {

using tensorflow::Tensor;

// The state that outlives a pass.
struct Load {
  const BundleIndex& index;
  const RestorePlan& plan;
  const DataFiles& files;
  RestoreTargets& targets;
  std::vector<std::vector<bool>> is_live;  // by group, by target of the group
  std::vector<bool> has_live;              // by group
};

// What a pass writes.
struct Writes {
  bool fresh;
  bool live;
};

absl::Status Located(const BundleEntry& entry, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(entry.ToString(), ": ", status.message()));
}

// A large group that the threads share.
struct OpenGroup : OpenUnit {
  OpenGroup(int group, GroupLoader* loader)
      : OpenUnit{group, loader->block_count()}, loader(loader) {}
  GroupLoader* loader;
};

// Reads some groups of a plan. Run() is called once.
class Pass : private JobWork {
 public:
  Pass(Load* load, Writes writes, const LoadOptions& options, const std::atomic<bool>* cancelled)
      : load_(*load),
        writes_(writes),
        progress_(options.progress),
        jobs_(MakeJobs()),
        threads_(&jobs_, this, cancelled),
        was_opened_(load->plan.groups.size(), false) {}

  int64_t size_bytes() const { return size_bytes_; }

  absl::Status Run(int threads) { return threads_.Run(ThreadCount(threads, size_bytes_)); }

  // Whether live targets of a group were written to, or begun to be. REQUIRES: Run() has returned.
  bool was_opened(size_t group) const { return was_opened_[group]; }

 private:
  // Small groups that lie together in one file are read at once.
  std::vector<Job> MakeJobs() {
    std::vector<Job> jobs;
    for (size_t i = 0; i < load_.plan.groups.size(); ++i) {
      const Group& group = load_.plan.groups[i];
      if (!writes_.fresh && !load_.has_live[i]) continue;
      size_bytes_ += group.size_bytes;
      const int number = static_cast<int>(i);
      if (group.dtype == tensorflow::DT_STRING) {
        jobs.push_back({Job::Kind::kStream, number, number + 1, 0, 0});
        continue;
      }
      const std::optional<int64_t> offset = OffsetIfTogether(group);
      if (!offset || group.size_bytes > kBlockBytes) {
        jobs.push_back({Job::Kind::kBlocks, number, number + 1, 0, 0});
        continue;
      }
      Job* last = jobs.empty() ? nullptr : &jobs.back();
      if (last != nullptr && last->kind == Job::Kind::kBatch && last->last == number &&
          ShardOf(load_.plan.groups[last->first]) == ShardOf(group) &&
          last->offset + last->size_bytes == *offset &&
          last->size_bytes + group.size_bytes <= kBlockBytes) {
        ++last->last;
        last->size_bytes += group.size_bytes;
      } else {
        jobs.push_back({Job::Kind::kBatch, number, number + 1, *offset, group.size_bytes});
      }
    }
    return jobs;
  }

  int ShardOf(const Group& group) const {
    return group.pieces.empty() ? -1 : load_.index.entries[group.pieces[0].entry].shard_id;
  }

  // Where the bytes of a group begin, if its pieces follow each other in one file.
  std::optional<int64_t> OffsetIfTogether(const Group& group) const {
    if (group.pieces.empty()) return 0;
    const BundleEntry& first = load_.index.entries[group.pieces[0].entry];
    int64_t end = first.offset;
    for (const Piece& piece : group.pieces) {
      const BundleEntry& entry = load_.index.entries[piece.entry];
      if (entry.shard_id != first.shard_id || entry.offset != end) return std::nullopt;
      end += entry.size_bytes;
    }
    return first.offset;
  }

  absl::Status DoJob(const Job& job, char* buffer) override {
    switch (job.kind) {
      case Job::Kind::kBatch:
        return LoadBatch(job, buffer);
      case Job::Kind::kBlocks:
        return LoadBlocks(job.first, buffer);
      case Job::Kind::kStream:
        return LoadStrings(load_.plan.groups[job.first]);
    }
    return absl::InternalError("unknown kind of job");
  }

  // The memory of a group's targets, of those that the pass writes.
  struct Memory {
    // Closed after `tensors` are gone: once others get at a variable, its memory is its own.
    std::unique_ptr<OpenTargets> open;
    std::vector<Tensor> tensors;
  };

  absl::StatusOr<Memory> MakeMemory(int number) {
    const Group& group = load_.plan.groups[number];
    Memory memory;
    memory.tensors.reserve(group.targets.size());
    std::vector<int> live;
    std::vector<size_t> live_places;
    std::vector<tensorflow::TensorShape> live_shapes;
    for (size_t i = 0; i < group.targets.size(); ++i) {
      memory.tensors.emplace_back();
      if (load_.is_live[number][i]) {
        live.push_back(group.targets[i].number);
        live_places.push_back(i);
        live_shapes.push_back(ShapeOf(group.targets[i].shape()));
      } else if (writes_.fresh) {
        absl::StatusOr<Tensor> tensor = load_.targets.Allocate(group.targets[i].number, group.dtype,
                                                               ShapeOf(group.targets[i].shape()));
        if (!tensor.ok()) return tensor.status();
        memory.tensors[i] = *std::move(tensor);
      }
    }
    if (!writes_.live || live.empty()) return memory;
    absl::StatusOr<std::unique_ptr<OpenTargets>> open =
        load_.targets.Open(live, group.dtype, live_shapes);
    if (!open.ok()) return open.status();
    memory.open = *std::move(open);
    was_opened_[number] = true;
    for (size_t i = 0; i < live.size(); ++i) {
      memory.tensors[live_places[i]] = memory.open->tensors()[i];
    }
    return memory;
  }

  // Reads what the groups of a batch have in the file.
  absl::Status ReadBatch(const Job& job, char* buffer) {
    if (job.size_bytes == 0) return absl::OkStatus();
    const int shard = ShardOf(load_.plan.groups[job.first]);
    if (load_.files.Read(shard, job.offset, job.size_bytes, buffer).ok()) return absl::OkStatus();
    // Once more, one by one, to tell which of them cannot be read.
    for (int i = job.first; i < job.last; ++i) {
      for (const Piece& piece : load_.plan.groups[i].pieces) {
        const BundleEntry& entry = load_.index.entries[piece.entry];
        const absl::Status status = load_.files.Read(shard, entry.offset, entry.size_bytes,
                                                     buffer + (entry.offset - job.offset));
        if (!status.ok()) return Located(entry, status);
      }
    }
    return absl::OkStatus();
  }

  absl::Status LoadBatch(const Job& job, char* buffer) {
    const absl::Status read = ReadBatch(job, buffer);
    if (!read.ok()) return read;
    AddProgress(job.size_bytes);
    for (int i = job.first; i < job.last; ++i) {
      absl::StatusOr<Memory> memory = MakeMemory(i);
      if (!memory.ok()) return memory.status();
      GroupLoader loader(load_.index, load_.files, load_.plan.groups[i], memory->tensors);
      loader.LoadFrom(buffer, job.offset);
      absl::Status status = loader.CheckSums();
      if (!status.ok()) return status;
      if (memory->open != nullptr) memory->open->Finish();
    }
    return absl::OkStatus();
  }

  absl::Status LoadBlocks(int number, char* buffer) {
    absl::StatusOr<Memory> memory = MakeMemory(number);
    if (!memory.ok()) return memory.status();
    GroupLoader loader(load_.index, load_.files, load_.plan.groups[number], memory->tensors);
    OpenGroup open(number, &loader);
    absl::Status status = threads_.ShareBlocks(&open, buffer);
    if (status.ok()) status = loader.CheckSums();
    if (status.ok() && memory->open != nullptr) memory->open->Finish();
    return status;
  }

  absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) override {
    GroupLoader* const loader = static_cast<OpenGroup*>(unit)->loader;
    const absl::Status status = loader->Load(block, buffer);
    AddProgress(loader->size_of(block));
    return status;
  }

  static absl::Status NoMemoryFor(const BundleEntry& entry) {
    return absl::ResourceExhaustedError(absl::StrCat(entry.ToString(), ": no memory for a ",
                                                     tensorflow::DataTypeString(entry.dtype),
                                                     " of shape ", DimsToString(entry.shape)));
  }

  // Strings are never live.
  absl::Status LoadStrings(const Group& group) {
    std::vector<Tensor> tensors;
    for (const Target& target : group.targets) {
      absl::StatusOr<Tensor> tensor =
          load_.targets.Allocate(target.number, group.dtype, ShapeOf(target.shape()));
      if (!tensor.ok()) return tensor.status();
      tensors.push_back(*std::move(tensor));
    }
    std::string buffer(EntryBytes::kBufferBytes, '\0');
    for (const Piece& piece : group.pieces) {
      const BundleEntry& entry = load_.index.entries[piece.entry];
      Tensor strings(tensorflow::DT_STRING, ShapeOf(entry.shape));
      if (!strings.IsInitialized()) return NoMemoryFor(entry);
      EntryBytes bytes(&load_.files.file(entry.shard_id), entry, &buffer);
      auto elements = strings.flat<tensorflow::tstring>();
      const absl::Status status =
          DecodeStrings(&bytes, entry.crc32c, absl::MakeSpan(elements.data(), elements.size()));
      if (!status.ok()) {
        const std::string range = load_.files.Range(entry.shard_id, entry.offset, entry.size_bytes);
        return Located(entry,
                       absl::Status(status.code(), absl::StrCat(range, ": ", status.message())));
      }
      for (const Delivery& delivery : piece.deliveries) {
        tensorflow::tstring* to = tensors[delivery.target].flat<tensorflow::tstring>().data();
        delivery.runs.Visit(0, elements.size(), [&](const autodist::Run& run) {
          std::copy_n(elements.data() + run.output, run.count, to + run.source);
        });
      }
      AddProgress(entry.size_bytes);
      if (absl::Status cancelled = threads_.CheckCancelled(); !cancelled.ok()) return cancelled;
    }
    return absl::OkStatus();
  }

  void AddProgress(int64_t bytes) {
    if (progress_ != nullptr) progress_->Add(bytes);
  }

  Load& load_;
  const Writes writes_;
  Progress* const progress_;
  int64_t size_bytes_ = 0;
  const std::vector<Job> jobs_;
  JobThreads threads_;
  // By group; each is written by one thread. Not bool, whose neighbours share a byte.
  std::vector<char> was_opened_;
};

// Most names that a message lists.
constexpr size_t kMostNames = 8;

// Returns `error` with the names of what a pass wrote to before it failed.
absl::Status WithWithdrawn(const RestorePlan& plan, const Pass& pass, const absl::Status& error) {
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
absl::Status Withdraw(Load* load, const Pass& pass, const absl::Status& error) {
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

}  // namespace

absl::StatusOr<int64_t> LoadBundle(const std::string& prefix, const BundleIndex& index,
                                   const RestorePlan& plan, RestoreTargets* targets,
                                   const LoadOptions& options) {
  DataFiles files(prefix, index.shard_count);
  Load load{index, plan, files, *targets, {}, {}};
  bool any_live = false;
  for (const Group& group : plan.groups) {
    for (const Piece& piece : group.pieces) {
      const absl::Status status = files.Open(index.entries[piece.entry]);
      if (!status.ok()) return status;
    }
    std::vector<bool> is_live;
    bool has_live = false;
    for (const Target& target : group.targets) {
      is_live.push_back(group.dtype != tensorflow::DT_STRING &&
                        targets->IsLive(target.number, group.dtype, ShapeOf(target.shape())));
      has_live = has_live || is_live.back();
    }
    load.is_live.push_back(std::move(is_live));
    load.has_live.push_back(has_live);
    any_live = any_live || has_live;
  }

  const bool in_one_pass = !any_live || !options.verify_first;
  Pass first(&load, {/*fresh=*/true, /*live=*/in_one_pass}, options, options.cancelled);
  // Half of a restore is worse than a late end of one that was cancelled.
  std::optional<Pass> second;
  if (!in_one_pass) {
    second.emplace(&load, Writes{/*fresh=*/false, /*live=*/true}, options, /*cancelled=*/nullptr);
  }
  const int64_t size_bytes = first.size_bytes() + (second ? second->size_bytes() : 0);
  if (options.progress != nullptr) options.progress->Begin(size_bytes);
  absl::Status status = first.Run(options.threads);
  if (!status.ok()) return status;
  if (second) {
    status = second->Run(options.threads);
    if (!status.ok()) return Withdraw(&load, *second, status);
  }
  return size_bytes;
}

}  // namespace autodist
