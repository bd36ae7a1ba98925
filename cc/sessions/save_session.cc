// One save of a cluster, as one of its tasks holds it while it is under way.

#include "sessions/save_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "sessions/variable_value.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

std::string NameOf(const SourceValue& value) {
  return value.name.empty() ? "a value" : absl::StrCat("variable '", value.name, "'");
}

}  // namespace

bool SaveSession::OpenData(const std::string& path) {
  absl::StatusOr<PosixFile> file = PosixFile::OpenForWriting(path);
  if (!file.ok()) return false;
  data_ = std::make_unique<PosixFile>(*std::move(file));
  return true;
}

void SaveSession::KeepAlive(PinnedVariables pins) {
  std::lock_guard<std::mutex> lock(mutex_);
  pins_.push_back(std::move(pins));
}

void SaveSession::KeepImage(std::shared_ptr<MemoryImage> image) {
  std::lock_guard<std::mutex> lock(ending_);
  images_.push_back(std::move(image));
  if (images_status_.has_value()) images_.back()->Finish().IgnoreError();
}

void SaveSession::AddSource(int64_t number, SourceValue value) {
  std::lock_guard<std::mutex> lock(mutex_);
  sources_[number] = std::move(value);
}

absl::StatusOr<SourceValue> SaveSession::Source(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sources_.find(number);
  if (found == sources_.end()) {
    return absl::InternalError(absl::StrCat("source ", number, " of the save is not on this task"));
  }
  SourceValue value = found->second;
  if (const auto kept = kept_.find(number); kept != kept_.end()) {
    value.is_referenced = true;
    value.tensor = kept->second.value;
    value.is_fixed = kept->second.is_fixed;
    value.device_reader = kept->second.device_reader;
    value.image = value.device_reader.get();
  }
  return value;
}

absl::Status SaveSession::Keep(const std::vector<int64_t>& numbers, int64_t budget_bytes) {
  for (int64_t number : numbers) {
    if (absl::Status status = KeepOne(number, budget_bytes); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SaveSession::KeepOne(int64_t number, int64_t budget_bytes) {
  absl::StatusOr<SourceValue> source = Source(number);
  if (!source.ok()) return source.status();
  if (source->has_tensor()) return absl::OkStatus();
  const int64_t size_bytes = source->shape.num_elements() * tensorflow::DataTypeSize(source->dtype);
  // The mode is never switched off, but may be switched on between this and the copy.
  const int64_t copied = source->variable->copy_on_read_mode.load() ? size_bytes : 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (copied > 0 && copied_bytes_ + copied > budget_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          NameOf(*source), " is updated in place and has to be copied before it is sent: ", copied,
          " bytes beside ", copied_bytes_, " that are copied already, of ", budget_bytes,
          " allowed. Raise Saver(memory_bytes=...)"));
    }
    copied_bytes_ += copied;
  }
  const absl::Status status = Guarded([&]() -> absl::Status {
    VariableSources sources({*source}, LockMode::kCopy);
    absl::StatusOr<std::vector<tensorflow::Tensor>> value = sources.Snapshot({0});
    if (!value.ok()) return value.status();
    if ((*value)[0].shape() != source->shape || (*value)[0].dtype() != source->dtype) {
      return absl::FailedPreconditionError(
          absl::StrCat(NameOf(*source), " got another shape during the save"));
    }
    SourceValue kept = *source;
    Refer((*value)[0], source->accelerator == nullptr && IsOnlyReference((*value)[0]), &kept);
    value->clear();
    std::lock_guard<std::mutex> lock(mutex_);
    const bool is_new = kept_
                            .emplace(number, Kept{std::move(kept.tensor), copied, kept.is_fixed,
                                                  std::move(kept.device_reader)})
                            .second;
    if (!is_new) copied_bytes_ -= copied;  // another op has kept it meanwhile
    return absl::OkStatus();
  });
  if (status.ok()) return status;
  std::lock_guard<std::mutex> lock(mutex_);
  copied_bytes_ -= copied;
  return status;
}

void SaveSession::Release(const std::vector<int64_t>& numbers) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (int64_t number : numbers) {
    sources_.erase(number);
    const auto kept = kept_.find(number);
    if (kept == kept_.end()) continue;
    copied_bytes_ -= kept->second.copied_bytes;
    kept_.erase(kept);
  }
}

absl::Status SaveSession::Write(int64_t offset, absl::string_view bytes) {
  const Gate::Visit visit(&writing_);
  if (!visit.is_inside()) {
    return absl::FailedPreconditionError("the save was ended before this was written");
  }
  const absl::Status checked =
      checked_.Keep(offset, bytes, [](int64_t, absl::string_view) { return absl::OkStatus(); });
  if (!checked.ok()) return checked;
  return given_.Keep(offset, bytes, [this](int64_t rest, absl::string_view rest_bytes) {
    written_.Add(rest_bytes.size());
    return WriteToFile(rest, rest_bytes);
  });
}

// REQUIRES: called from Write().
absl::Status SaveSession::WriteToFile(int64_t offset, absl::string_view bytes) {
  if (files_ != nullptr) return files_->WriteData(offset, bytes);
  std::unique_lock<std::mutex> lock(mutex_);
  if (data_ == nullptr && !data_path_.empty()) {
    absl::StatusOr<PosixFile> file = PosixFile::OpenForWriting(data_path_);
    if (!file.ok()) return file.status();
    data_ = std::make_unique<PosixFile>(*std::move(file));
  }
  lock.unlock();
  if (data_ != nullptr) return data_->WriteAt(offset, bytes);
  return absl::InternalError("this task has no file to write to");
}

// What ops refer to, the variables, goes with the last of them.
void SaveSession::ReleaseValues() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [number, kept] : kept_) copied_bytes_ -= kept.copied_bytes;
  kept_.clear();
  sources_.clear();
}

// REQUIRES: writing_ is closed, and ending_ held.
absl::Status SaveSession::EndImages() {
  if (images_status_.has_value()) return *images_status_;
  absl::Status status;
  if (!images_.empty()) reading_.Close();
  for (const std::shared_ptr<MemoryImage>& image : images_) status.Update(image->Finish());
  images_status_ = status;
  return status;
}

absl::Status SaveSession::Finish(bool durable) {
  connections_.End();
  writing_.Close();
  ReleaseValues();
  std::lock_guard<std::mutex> lock(ending_);
  const absl::Status images = EndImages();
  const std::unique_ptr<PosixFile> data = std::move(data_);
  if (!images.ok() || data == nullptr) return images;
  absl::Status status = durable ? data->Sync() : absl::OkStatus();
  if (status.ok()) status = data->Finish();
  return status;
}

absl::Status SaveSession::Commit(const BundleFiles::IndexOf& index) {
  connections_.End();
  writing_.Close();
  ReleaseValues();
  std::lock_guard<std::mutex> lock(ending_);
  if (files_ == nullptr) {
    return absl::FailedPreconditionError("the save was not begun on this task, or is ended");
  }
  absl::Status status = EndImages();
  if (status.ok()) status = Guarded([&] { return files_->Commit(index); });
  files_.reset();
  return status;
}

void SaveSession::Drop() {
  connections_.End();
  writing_.Close();
  ReleaseValues();
  std::lock_guard<std::mutex> lock(ending_);
  EndImages().IgnoreError();
  files_.reset();
  data_.reset();
}

}  // namespace autodist
