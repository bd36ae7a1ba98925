// One pass of a restore over the data files. The header tells what it does.

#include "restore/load_pass.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "format/reader/string_decoder.h"
#include "format/values/shape_and_slice.h"
#include "threads/block.h"

namespace autodist {
namespace {

using tensorflow::Tensor;

absl::Status Located(const BundleEntry& entry, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(entry.ToString(), ": ", status.message()));
}

absl::Status NoMemoryFor(const BundleEntry& entry) {
  return absl::ResourceExhaustedError(absl::StrCat(entry.ToString(), ": no memory for a ",
                                                   tensorflow::DataTypeString(entry.dtype),
                                                   " of shape ", DimsToString(entry.shape)));
}

// A large group that the threads share.
struct OpenGroup : OpenUnit {
  OpenGroup(int group, GroupLoader* loader)
      : OpenUnit{group, loader->block_count()}, loader(loader) {}
  GroupLoader* loader;
};

}  // namespace

LoadPass::LoadPass(LoadState* load, Writes writes, MemoryBudget* budget, Progress* progress,
                   const std::atomic<bool>* cancelled)
    : load_(*load),
      writes_(writes),
      budget_(budget),
      progress_(progress),
      jobs_(MakeJobs()),
      threads_(&jobs_, this, cancelled),
      was_opened_(load->plan.groups.size(), false) {}

absl::Status LoadPass::Run(int threads) {
  return threads_.Run(ReadingThreads(threads, size_bytes_));
}

// Small groups that lie together in one file are read at once.
std::vector<Job> LoadPass::MakeJobs() {
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

int LoadPass::ShardOf(const Group& group) const {
  return group.pieces.empty() ? -1 : load_.index.entries[group.pieces[0].entry].shard_id;
}

// Where the bytes of a group begin, if its pieces follow each other in one file.
std::optional<int64_t> LoadPass::OffsetIfTogether(const Group& group) const {
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

absl::Status LoadPass::DoJob(const Job& job, char* buffer) {
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

absl::StatusOr<LoadPass::Memory> LoadPass::MakeMemory(int number) {
  const Group& group = load_.plan.groups[number];
  Memory memory;
  memory.tensors.reserve(group.targets.size());
  std::vector<int> live;
  std::vector<size_t> live_places;
  std::vector<tensorflow::TensorShape> live_shapes;
  for (size_t i = 0; i < group.targets.size(); ++i) {
    memory.tensors.push_back({Tensor(), load_.targets.accelerator(group.targets[i].number)});
    if (load_.is_live[number][i]) {
      live.push_back(group.targets[i].number);
      live_places.push_back(i);
      live_shapes.push_back(ShapeOf(group.targets[i].shape()));
    } else if (writes_.fresh) {
      absl::StatusOr<Tensor> tensor = load_.targets.Allocate(group.targets[i].number, group.dtype,
                                                             ShapeOf(group.targets[i].shape()));
      if (!tensor.ok()) return tensor.status();
      memory.tensors[i].tensor = *std::move(tensor);
    }
  }
  if (!writes_.live || live.empty()) return memory;
  absl::StatusOr<std::unique_ptr<OpenTargets>> open =
      load_.targets.Open(live, group.dtype, live_shapes);
  if (!open.ok()) return open.status();
  memory.open = *std::move(open);
  was_opened_[number] = true;
  for (size_t i = 0; i < live.size(); ++i) {
    memory.tensors[live_places[i]].tensor = memory.open->tensors()[i];
  }
  return memory;
}

// Reads what the groups of a batch have in the file.
absl::Status LoadPass::ReadBatch(const Job& job, char* buffer) {
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

absl::Status LoadPass::LoadBatch(const Job& job, char* buffer) {
  const absl::Status read = ReadBatch(job, buffer);
  if (!read.ok()) return read;
  absl::Status status = Note(job.size_bytes);
  if (!status.ok()) return status;
  for (int i = job.first; i < job.last; ++i) {
    absl::StatusOr<Memory> memory = MakeMemory(i);
    if (!memory.ok()) return memory.status();
    GroupLoader loader(load_.index, load_.files, load_.plan.groups[i], memory->tensors);
    status = loader.LoadFrom(buffer, job.offset);
    if (status.ok()) status = loader.CheckSums();
    if (status.ok()) status = loader.Finish();
    if (!status.ok()) return status;
    if (memory->open != nullptr) memory->open->Finish();
  }
  return absl::OkStatus();
}

absl::Status LoadPass::LoadBlocks(int number, char* buffer) {
  absl::StatusOr<Memory> memory = MakeMemory(number);
  if (!memory.ok()) return memory.status();
  GroupLoader loader(load_.index, load_.files, load_.plan.groups[number], memory->tensors);
  OpenGroup open(number, &loader);
  absl::Status status = threads_.ShareBlocks(&open, buffer);
  if (status.ok()) status = loader.CheckSums();
  if (status.ok()) status = loader.Finish();
  if (status.ok() && memory->open != nullptr) memory->open->Finish();
  return status;
}

absl::Status LoadPass::DoBlock(OpenUnit* unit, int64_t block, char* buffer) {
  GroupLoader* const loader = static_cast<OpenGroup*>(unit)->loader;
  const absl::Status status = loader->Load(block, buffer);
  return status.ok() ? Note(loader->size_of(block)) : status;
}

// Strings are never live.
absl::Status LoadPass::LoadStrings(const Group& group) {
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
    absl::Status going_on = Note(entry.size_bytes);
    if (going_on.ok()) going_on = threads_.CheckCancelled();
    if (!going_on.ok()) return going_on;
  }
  return absl::OkStatus();
}

absl::Status LoadPass::Note(int64_t bytes) {
  if (progress_ != nullptr) progress_->Add(bytes);
  return budget_ == nullptr ? absl::OkStatus() : budget_->Note(bytes);
}

}  // namespace autodist
