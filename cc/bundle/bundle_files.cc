// See the header for the order, docs/durability.md for the reasons.

#include "bundle/bundle_files.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bundle/temporary_name.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/path.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"

namespace autodist {
namespace {

// Commits of one prefix by several threads take turns; others seldom wait for each other.
std::mutex& CommitMutex(const std::string& name) {
  static auto* const mutexes = new std::array<std::mutex, 16>;
  return (*mutexes)[std::hash<std::string>()(name) % mutexes->size()];
}

bool IsDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Whether `file` is a data file of the prefix `name`, of any number.
bool IsDataFile(absl::string_view file, absl::string_view name) {
  constexpr absl::string_view kForm = ".data-00000-of-00000";
  if (file.size() != name.size() + kForm.size() || !absl::StartsWith(file, name)) return false;
  file.remove_prefix(name.size());
  return file.substr(0, 6) == kForm.substr(0, 6) && IsDigits(file.substr(6, 5)) &&
         file.substr(11, 4) == kForm.substr(11, 4) && IsDigits(file.substr(15));
}

// The number of files in the name of a data file.
int FileCountOf(absl::string_view data_file) {
  int count = 0;
  for (char digit : data_file.substr(data_file.size() - 5)) count = 10 * count + (digit - '0');
  return count;
}

}  // namespace

BundleFiles::BundleFiles(std::unique_ptr<SaveDirectory> directory, std::string name, bool durable)
    : directory_(std::move(directory)), name_(std::move(name)), durable_(durable) {}

BundleFiles::~BundleFiles() {
  data_.reset();
  if (!made_directory_.empty()) tsl::Env::Default()->DeleteDir(made_directory_).IgnoreError();
}

absl::StatusOr<std::unique_ptr<BundleFiles>> BundleFiles::Create(const std::string& prefix,
                                                                 bool durable) {
  if (prefix.empty()) {
    return absl::InvalidArgumentError("the prefix of a checkpoint is empty");
  }
  const std::string path(tsl::io::Dirname(prefix));
  const absl::Status made = tsl::Env::Default()->CreateDir(path);
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  absl::StatusOr<std::unique_ptr<BundleFiles>> files = OpenAndCreate(prefix, durable, made.ok());
  if (made.ok()) {
    if (files.ok()) {
      (*files)->made_directory_ = path;
    } else {
      tsl::Env::Default()->DeleteDir(path).IgnoreError();
    }
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
  return CreateIn(*std::move(directory), SplitPath(prefix).name, durable);
}

absl::StatusOr<std::unique_ptr<BundleFiles>> BundleFiles::CreateIn(
    std::unique_ptr<SaveDirectory> directory, const std::string& name, bool durable) {
  std::unique_ptr<BundleFiles> files(new BundleFiles(std::move(directory), name, durable));
  if (absl::Status status = files->CreateData(); !status.ok()) return status;
  return files;
}

absl::Status BundleFiles::CreateData() {
  if (directory_->can_rename()) {
    const auto names = directory_->List();
    if (!names.ok()) return names.status();
    for (const std::string& file : *names) {
      if (IsTemporaryName(file)) directory_->RemoveIfAbandoned(file);
    }
  } else {
    absl::StatusOr<Former> former = FindFormer();
    if (!former.ok()) return former.status();
    data_file_count_ = ChooseFileCount(*former);
  }
  data_ = std::make_unique<StagedFile>(directory_.get(), durable_);
  return data_->Create(data_file_count_ > 0 ? DataName(data_file_count_)
                                            : absl::StrCat(name_, ".data"));
}

std::string BundleFiles::DataName(int data_file_count) const {
  return tensorflow::DataFilename(name_, 0, data_file_count);
}

absl::StatusOr<BundleFiles::Former> BundleFiles::FindFormer() const {
  const auto names = directory_->List();
  if (!names.ok()) return names.status();
  const std::string index_name = tensorflow::MetaFilename(name_);
  Former former;
  for (const std::string& file : *names) {
    if (file == index_name) former.has_index = true;
    if (IsDataFile(file, name_)) former.data_names.push_back(file);
  }
  return former;
}

int BundleFiles::ChooseFileCount(const Former& former) const {
  if (!former.has_index) return 1;
  std::set<int> taken;
  for (const std::string& file : former.data_names) taken.insert(FileCountOf(file));
  int count = 1;
  while (taken.count(count) > 0) ++count;
  return count;
}

absl::Status BundleFiles::Commit(const IndexOf& index) {
  absl::Status status = data_->Finish();
  if (!status.ok()) return status;
  std::lock_guard<std::mutex> lock(CommitMutex(name_));
  absl::StatusOr<Former> former = FindFormer();
  if (!former.ok()) return former.status();
  if (data_file_count_ == 0) data_file_count_ = ChooseFileCount(*former);

  absl::StatusOr<std::string> bytes = index(data_file_count_);
  if (!bytes.ok()) return bytes.status();
  StagedFile index_file(directory_.get(), durable_);
  status = index_file.Create(tensorflow::MetaFilename(name_));
  if (status.ok()) status = index_file.file().WriteAt(0, *bytes);
  if (status.ok()) status = index_file.Finish();
  if (!status.ok()) return status;

  const std::string data_name = DataName(data_file_count_);
  status = data_->MoveTo(data_name);
  if (status.ok()) status = index_file.MoveTo(tensorflow::MetaFilename(name_));
  if (!status.ok()) {
    if (!index_file.is_moved()) data_->Remove();
    return status;
  }
  made_directory_.clear();
  // Nothing names these any more. What cannot be removed now is removed by a later save.
  for (const std::string& file : former->data_names) {
    if (file != data_name) directory_->Remove(file).IgnoreError();
  }
  if (data_file_count_ != 1 && directory_->can_rename()) RenameToOne(index);
  return absl::OkStatus();
}

// The data file gets the name of an only one beside the one it has, and a second index names that.
// Where this fails the bundle is the same, under the other name.
void BundleFiles::RenameToOne(const IndexOf& index) {
  const std::string data_name = DataName(data_file_count_);
  absl::StatusOr<std::string> bytes = index(1);
  if (!bytes.ok() || !directory_->Link(data_name, DataName(1)).ok()) return;
  StagedFile index_file(directory_.get(), durable_);
  absl::Status status = durable_ ? directory_->Sync() : absl::OkStatus();
  if (status.ok()) status = index_file.Create(tensorflow::MetaFilename(name_));
  if (status.ok()) status = index_file.file().WriteAt(0, *bytes);
  if (status.ok()) status = index_file.Finish();
  if (status.ok()) status = index_file.MoveTo(tensorflow::MetaFilename(name_));
  if (!index_file.is_moved()) {
    directory_->Remove(DataName(1)).IgnoreError();
  } else if (status.ok()) {
    directory_->Remove(data_name).IgnoreError();
  }
}

}  // namespace autodist
