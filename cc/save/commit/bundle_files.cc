// The two files of a bundle while they are being written, and the order in which they are
// committed. See docs/design/durability.md for the reasons.

#include "save/commit/bundle_files.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "format/index/bundle_names.h"
#include "save/commit/former_bundle.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/path.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

void DeleteDirectory(const std::string& path) {
  Guarded([&] { return tsl::Env::Default()->DeleteDir(path); }).IgnoreError();
}

}  // namespace

BundleFiles::BundleFiles(std::unique_ptr<SaveDirectory> directory, std::string name, bool durable)
    : directory_(std::move(directory)), name_(std::move(name)), durable_(durable) {}

BundleFiles::~BundleFiles() {
  data_.reset();
  lock_.reset();
  if (!made_directory_.empty() && process_.is_this()) DeleteDirectory(made_directory_);
}

absl::StatusOr<std::unique_ptr<BundleFiles>> BundleFiles::Create(const std::string& prefix,
                                                                 bool durable) {
  if (prefix.empty()) {
    return absl::InvalidArgumentError("the prefix of a checkpoint is empty");
  }
  std::string path(tsl::io::Dirname(prefix));
  const absl::Status made = tsl::Env::Default()->CreateDir(path);
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  absl::StatusOr<std::unique_ptr<BundleFiles>> files = NoMemory();
  Guarded([&] {
    files = OpenAndCreate(prefix, durable, made.ok());
    return absl::OkStatus();
  }).IgnoreError();
  if (!made.ok()) return files;
  if (files.ok()) {
    (*files)->made_directory_ = std::move(path);
  } else {
    DeleteDirectory(path);
  }
  return files;
}

absl::StatusOr<std::unique_ptr<BundleFiles>> BundleFiles::OpenAndCreate(const std::string& prefix,
                                                                        bool durable,
                                                                        bool is_new_directory) {
  if (durable && is_new_directory) {
    auto parent = SaveDirectory::OpenParent(std::string(tsl::io::Dirname(prefix)));
    if (!parent.ok()) return parent.status();
    if (absl::Status status = (*parent)->Sync(); !status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<SaveDirectory>> directory = SaveDirectory::OpenParent(prefix);
  if (!directory.ok()) return directory.status();
  const SplitPath split(prefix);
  absl::StatusOr<std::unique_ptr<BundleFiles>> files =
      CreateIn(*std::move(directory), split.name, durable);
  if (const std::string path = PosixPath(prefix); files.ok() && !path.empty()) {
    const std::string parent = SplitPath(path).directory();
    std::error_code error;
    (*files)->directory_path_ =
        std::filesystem::absolute(parent.empty() ? "." : parent, error).string();
  }
  return files;
}

std::string BundleFiles::data_path() const {
  return directory_path_.empty() ? "" : absl::StrCat(directory_path_, "/", data_->name());
}

absl::StatusOr<std::unique_ptr<BundleFiles>> BundleFiles::CreateIn(
    std::unique_ptr<SaveDirectory> directory, const std::string& name, bool durable) {
  std::unique_ptr<BundleFiles> files(new BundleFiles(std::move(directory), name, durable));
  if (absl::Status status = files->Prepare(); !status.ok()) return status;
  return files;
}

absl::Status BundleFiles::Prepare() {
  absl::StatusOr<std::unique_ptr<NameLock>> lock = directory_->Lock(IndexName(name_));
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);
  if (absl::Status status = RemoveAbandoned(directory_.get()); !status.ok()) return status;
  if (!directory_->can_rename()) {
    absl::StatusOr<FormerBundle> former = FindFormerBundle(directory_.get(), name_);
    if (!former.ok()) return former.status();
    data_file_count_ = former->ChooseFileCount(1);
  }
  return CreateData();
}

absl::Status BundleFiles::TryAnyOrder(int64_t size_bytes) {
  if (is_sequential() || size_bytes < 3) return absl::OkStatus();
  const absl::string_view byte("\0", 1);
  // Neither is at the start, where an error is one of another kind.
  absl::Status status = WriteData(size_bytes - 1, byte);
  return status.ok() ? WriteData(1, byte) : status;
}

absl::StatusOr<bool> BundleFiles::BeginAgainInOrder() {
  if (is_sequential() || !data_->refused_offset()) return false;
  directory_->WriteInOrder();
  if (absl::Status status = CreateData(); !status.ok()) return status;
  return true;
}

absl::Status BundleFiles::CreateData() {
  data_ = std::make_unique<StagedFile>(directory_.get(), durable_);
  return data_->Create(data_file_count_ > 0 ? DataName(data_file_count_)
                                            : absl::StrCat(name_, ".data"));
}

std::string BundleFiles::DataName(int data_file_count) const {
  return autodist::DataName(name_, 0, data_file_count);
}

absl::Status BundleFiles::Commit(const IndexOf& index) {
  absl::Status status = data_->Finish();
  if (!status.ok()) return status;
  absl::StatusOr<FormerBundle> former = FindFormerBundle(directory_.get(), name_);
  if (!former.ok()) return former.status();
  if (data_file_count_ == 0) data_file_count_ = former->ChooseFileCount(1);

  absl::StatusOr<std::string> bytes = index(data_file_count_);
  if (!bytes.ok()) return bytes.status();
  StagedFile index_file(directory_.get(), durable_);
  status = index_file.Create(IndexName(name_));
  if (status.ok()) status = index_file.file().WriteAt(0, *bytes);
  if (status.ok()) status = index_file.Finish();
  if (!status.ok()) return status;

  const std::string data_name = DataName(data_file_count_);
  const std::string index_name = IndexName(name_);
  status = data_->MoveTo(data_name);
  if (status.ok()) status = Guarded([&] { return index_file.MoveTo(index_name); });
  if (!status.ok()) {
    if (!index_file.is_moved()) data_->Remove();
    return status;
  }
  made_directory_.clear();
  // Nothing names these any more. What cannot be removed now is removed by a later save.
  for (const std::string& file : former->data_names) {
    if (file != data_name) Guarded([&] { return directory_->RemoveLarge(file); }).IgnoreError();
  }
  if (data_file_count_ != 1 && directory_->can_rename()) {
    Guarded([&] {
      RenameToOne(index);
      return absl::OkStatus();
    }).IgnoreError();
  }
  return absl::OkStatus();
}

// The data file gets the name of an only one beside the one it has, and a second index names that.
// Where this fails the bundle is the same, under the other name.
void BundleFiles::RenameToOne(const IndexOf& index) {
  const std::string data_name = DataName(data_file_count_);
  const std::string one_name = DataName(1);
  const std::string index_name = IndexName(name_);
  absl::StatusOr<std::string> bytes = index(1);
  StagedFile index_file(directory_.get(), durable_);
  if (!bytes.ok() || !directory_->Link(data_name, one_name).ok()) return;
  const absl::Status status = Guarded([&] {
    absl::Status done = durable_ ? directory_->Sync() : absl::OkStatus();
    if (done.ok()) done = index_file.Create(index_name);
    if (done.ok()) done = index_file.file().WriteAt(0, *bytes);
    if (done.ok()) done = index_file.Finish();
    if (done.ok()) done = index_file.MoveTo(index_name);
    return done;
  });
  if (!index_file.is_moved()) {
    directory_->Remove(one_name).IgnoreError();
  } else if (status.ok()) {
    directory_->Remove(data_name).IgnoreError();
  }
}

}  // namespace autodist
