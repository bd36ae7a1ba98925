// A bundle that TensorFlow writes, in any number of data files, on its way to its prefix: what
// BundleFiles (bundle_files.h) does for our own. See docs/design/durability.md for the reasons.

#include "save/commit/staged_bundle.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "format/index/bundle_names.h"
#include "format/index/index_table.h"
#include "format/index/table_reader.h"
#include "format/reader/bundle_reader.h"
#include "format/reader/data_files.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

// The index at `path`, of another number of data files.
absl::StatusOr<std::string> ReadIndexAs(int file_count, const std::string& path) {
  std::map<std::string, tensorflow::BundleEntryProto> entries;
  const absl::Status status = ReadTable(path, [&](const std::string& key, absl::string_view value) {
    if (key.empty()) return absl::OkStatus();
    if (!entries[key].ParseFromArray(value.data(), static_cast<int>(value.size()))) {
      return absl::DataLossError("an entry is not a BundleEntryProto");
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return BuildIndexTable(entries, file_count);
}

// DataLoss if a data file ends before the last byte that the index has in it.
absl::Status CheckSizes(const std::string& prefix, const BundleIndex& index) {
  DataFiles files(prefix, index.shard_count);
  for (const BundleEntry& entry : index.entries) {
    if (entry.size_bytes == 0) continue;
    if (absl::Status status = files.Open(entry); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

StagedBundle::StagedBundle(std::unique_ptr<SaveDirectory> directory, std::string parent,
                           std::string name, bool durable)
    : directory_(std::move(directory)),
      parent_(std::move(parent)),
      name_(std::move(name)),
      durable_(durable) {}

absl::StatusOr<std::unique_ptr<StagedBundle>> StagedBundle::Create(const std::string& prefix,
                                                                   bool durable) {
  const SplitPath split(PosixPath(prefix));
  if (split.name.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("'", prefix, "' is not the prefix of files"));
  }
  const std::string parent = split.directory().empty() ? "." : split.directory();
  auto directory = OpenPosixDirectory(parent);
  if (!directory.ok()) return directory.status();
  return CreateIn(*std::move(directory), parent, split.name, durable);
}

absl::StatusOr<std::unique_ptr<StagedBundle>> StagedBundle::CreateIn(
    std::unique_ptr<SaveDirectory> directory, const std::string& parent, const std::string& name,
    bool durable) {
  std::unique_ptr<StagedBundle> bundle(
      new StagedBundle(std::move(directory), parent, name, durable));
  auto lock = bundle->directory_->Lock(IndexName(name));
  if (!lock.ok()) return lock.status();
  bundle->lock_ = *std::move(lock);
  absl::Status status = RemoveAbandoned(bundle->directory_.get());
  if (status.ok()) status = bundle->scratch_.Create(parent, name);
  if (!status.ok()) return status;
  return bundle;
}

std::string StagedBundle::prefix() const {
  return absl::StrCat(parent_, "/", scratch_.name(), "/", name_);
}

std::string StagedBundle::NameOf(const std::string& data_file, int file_count) const {
  return DataName(name_, FileNumberOf(data_file), file_count);
}

absl::StatusOr<std::vector<std::string>> StagedBundle::FindData() const {
  auto scratch = OpenPosixDirectory(absl::StrCat(parent_, "/", scratch_.name()));
  if (!scratch.ok()) return scratch.status();
  absl::StatusOr<FormerBundle> written = FindFormerBundle(scratch->get(), name_);
  if (!written.ok()) return written.status();
  return std::move(written->data_names);
}

absl::Status StagedBundle::Sync() { return durable_ ? directory_->Sync() : absl::OkStatus(); }

absl::Status StagedBundle::StageIndex(int file_count, StagedFile* file) const {
  absl::StatusOr<std::string> bytes = ReadIndexAs(file_count, IndexName(prefix()));
  if (!bytes.ok()) return bytes.status();
  absl::Status status = file->Create(IndexName(name_));
  if (status.ok()) status = file->file().WriteAt(0, *bytes);
  if (status.ok()) status = file->Finish();
  return status;
}

void StagedBundle::RemoveAll(absl::Span<const std::string> names) noexcept {
  for (const std::string& name : names) {
    Guarded([&] { return directory_->Remove(name); }).IgnoreError();
  }
}

absl::Status StagedBundle::MoveIn(const std::vector<std::string>& data,
                                  const std::vector<std::string>& names) {
  for (size_t i = 0; i < data.size(); ++i) {
    absl::Status status = directory_->Rename(absl::StrCat(scratch_.name(), "/", data[i]), names[i]);
    if (!status.ok()) return status;
  }
  absl::Status status = Sync();
  // A name has moved for certain once both directories are synced.
  if (status.ok() && durable_) status = directory_->SyncFile(scratch_.name());
  return status;
}

absl::Status StagedBundle::Commit() {
  const absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix());
  if (!index.ok()) return index.status();
  const absl::StatusOr<std::vector<std::string>> data = FindData();
  if (!data.ok()) return data.status();
  // Other processes may have written them, on a file system that does not show all of it here.
  if (absl::Status status = CheckSizes(prefix(), *index); !status.ok()) return status;
  for (const std::string& file : *data) {
    if (!durable_) break;
    absl::Status status = directory_->SyncFile(absl::StrCat(scratch_.name(), "/", file));
    if (!status.ok()) return status;
  }

  const absl::StatusOr<FormerBundle> former = FindFormerBundle(directory_.get(), name_);
  if (!former.ok()) return former.status();
  const int file_count = former->ChooseFileCount(index->shard_count);
  StagedFile index_file(directory_.get(), durable_);
  absl::Status status = StageIndex(file_count, &index_file);
  if (!status.ok()) return status;
  const std::string index_name = IndexName(name_);
  std::vector<std::string> names;
  for (const std::string& file : *data) names.push_back(NameOf(file, file_count));
  // From here on nothing is thrown: what was begun is ended or undone.
  status = Guarded([&] { return MoveIn(*data, names); });
  if (status.ok()) status = Guarded([&] { return index_file.MoveTo(index_name); });
  if (!status.ok()) {
    if (!index_file.is_moved()) RemoveAll(names);
    return status;
  }
  // Nothing names these any more. What cannot be removed now is removed by a later save.
  for (const std::string& file : former->data_names) {
    if (FileCountOf(file) == file_count) continue;
    Guarded([&] { return directory_->RemoveLarge(file); }).IgnoreError();
  }
  if (file_count != index->shard_count) {
    Guarded([&] {
      RenameTo(index->shard_count, *data, names);
      return absl::OkStatus();
    }).IgnoreError();
  }
  return absl::OkStatus();
}

// Where this fails the bundle is the same, under the other names.
void StagedBundle::RenameTo(int file_count, const std::vector<std::string>& data,
                            const std::vector<std::string>& from) {
  const std::string index_name = IndexName(name_);
  std::vector<std::string> to;
  for (const std::string& file : data) to.push_back(NameOf(file, file_count));
  StagedFile index_file(directory_.get(), durable_);
  size_t linked = 0;
  const absl::Status status = Guarded([&] {
    absl::Status done;
    while (done.ok() && linked < data.size()) {
      done = directory_->Link(from[linked], to[linked]);
      linked += done.ok();
    }
    if (done.ok()) done = Sync();
    if (done.ok()) done = StageIndex(file_count, &index_file);
    if (done.ok()) done = index_file.MoveTo(index_name);
    return done;
  });
  const bool is_certain = status.ok() || !index_file.is_moved();
  const std::vector<std::string>& unnamed = index_file.is_moved() ? from : to;
  if (is_certain) RemoveAll(absl::MakeConstSpan(unnamed).first(linked));
}

}  // namespace autodist
