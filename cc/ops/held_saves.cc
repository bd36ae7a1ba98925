// See the header for what this is for.

#include "ops/held_saves.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

std::string NameOf(const SourceValue& value) {
  return value.name.empty() ? "a value" : absl::StrCat("variable '", value.name, "'");
}

}  // namespace

bool HeldSave::OpenData(const std::string& path) {
  absl::StatusOr<PosixFile> file = PosixFile::OpenForWriting(path);
  if (!file.ok()) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  data_ = std::make_unique<PosixFile>(*std::move(file));
  return true;
}

void HeldSave::AddSource(int64_t number, SourceValue value) {
  std::lock_guard<std::mutex> lock(mutex_);
  sources_[number] = std::move(value);
}

absl::StatusOr<SourceValue> HeldSave::Source(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sources_.find(number);
  if (found == sources_.end()) {
    return absl::InternalError(absl::StrCat("source ", number, " of the save is not on this task"));
  }
  SourceValue value = found->second;
  if (const auto kept = kept_.find(number); kept != kept_.end()) {
    value.is_referenced = true;
    value.tensor = kept->second.value;
  }
  return value;
}

absl::Status HeldSave::Keep(const std::vector<int64_t>& numbers, int64_t budget_bytes) {
  for (int64_t number : numbers) {
    absl::StatusOr<SourceValue> source = Source(number);
    if (!source.ok()) return source.status();
    if (source->has_tensor()) continue;
    const int64_t size_bytes =
        source->shape.num_elements() * tensorflow::DataTypeSize(source->dtype);
    // The mode is never switched off, but may be switched on between this and the copy.
    const bool is_copied = source->variable->copy_on_read_mode.load();
    if (is_copied && copied_bytes_ + size_bytes > budget_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          NameOf(*source), " is updated in place and has to be copied before it is sent: ",
          size_bytes, " bytes beside ", copied_bytes_, " that are copied already, of ",
          budget_bytes, " allowed. Raise Saver(memory_bytes=...)"));
    }
    VariableSources sources({*source}, LockMode::kCopy);
    absl::StatusOr<std::vector<tensorflow::Tensor>> value = sources.Snapshot({0});
    if (!value.ok()) return value.status();
    if ((*value)[0].shape() != source->shape || (*value)[0].dtype() != source->dtype) {
      return absl::FailedPreconditionError(
          absl::StrCat(NameOf(*source), " got another shape during the save"));
    }
    std::lock_guard<std::mutex> lock(mutex_);
    copied_bytes_ += is_copied ? size_bytes : 0;
    kept_[number] = {std::move((*value)[0]), is_copied ? size_bytes : 0};
  }
  return absl::OkStatus();
}

void HeldSave::LetGo(const std::vector<int64_t>& numbers) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (int64_t number : numbers) {
    sources_.erase(number);
    const auto kept = kept_.find(number);
    if (kept == kept_.end()) continue;
    copied_bytes_ -= kept->second.copied_bytes;
    kept_.erase(kept);
  }
}

absl::Status HeldSave::Write(int64_t offset, absl::string_view bytes) {
  const absl::Status checked =
      checked_.Keep(offset, bytes, [](int64_t, absl::string_view) { return absl::OkStatus(); });
  if (!checked.ok()) return checked;
  return given_.Keep(offset, bytes, [this](int64_t rest, absl::string_view rest_bytes) {
    return WriteToFile(rest, rest_bytes);
  });
}

absl::Status HeldSave::WriteToFile(int64_t offset, absl::string_view bytes) {
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

absl::Status HeldSave::Finish(bool durable) {
  std::unique_lock<std::mutex> lock(mutex_);
  kept_.clear();
  sources_.clear();
  pins_.clear();
  const std::unique_ptr<PosixFile> data = std::move(data_);
  lock.unlock();
  if (data == nullptr) return absl::OkStatus();
  absl::Status status = durable ? data->Sync() : absl::OkStatus();
  if (status.ok()) status = data->Finish();
  return status;
}

}  // namespace autodist
