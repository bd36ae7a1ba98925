// See the header for what this is for.

#include "ops/staged_file_api.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bundle/guarded.h"
#include "bundle/posix_io.h"
#include "bundle/save_directory.h"
#include "bundle/staged_file.h"
#include "ops/api_status.h"

struct AutodistStagedFile {
  AutodistStagedFile(std::string target_name, std::unique_ptr<autodist::SaveDirectory> opened,
                     bool durable)
      : target(std::move(target_name)),
        directory(std::move(opened)),
        staged(directory.get(), durable) {}

  const std::string target;
  const std::unique_ptr<autodist::SaveDirectory> directory;
  autodist::StagedFile staged;
};

namespace autodist {
namespace {

absl::StatusOr<std::unique_ptr<AutodistStagedFile>> Stage(const std::string& path,
                                                          absl::string_view bytes, bool durable) {
  const FileSizeErrors file_size_errors;
  if (SplitPath(path).name.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("'", path, "' is not the path of a file"));
  }
  absl::StatusOr<std::unique_ptr<SaveDirectory>> directory = SaveDirectory::OpenParent(path);
  if (!directory.ok()) return directory.status();
  auto file =
      std::make_unique<AutodistStagedFile>(SplitPath(path).name, *std::move(directory), durable);
  absl::Status status = file->staged.Create(file->target);
  if (status.ok()) status = file->staged.file().WriteAt(0, bytes);
  if (status.ok()) status = file->staged.Finish();
  if (!status.ok()) return status;
  return file;
}

}  // namespace
}  // namespace autodist

int autodist_stage_file(const char* path, const char* bytes, int64_t size_bytes, int durable,
                        AutodistStagedFile** file, char* message, int64_t capacity) {
  *file = nullptr;
  const absl::Status status = autodist::Guarded([&] {
    auto staged = autodist::Stage(path, absl::string_view(bytes, size_bytes), durable != 0);
    if (staged.ok()) *file = staged->release();
    return staged.status();
  });
  return autodist::Report(status, message, capacity);
}

int autodist_commit_file(AutodistStagedFile** file, int* is_moved, char* message,
                         int64_t capacity) {
  const std::unique_ptr<AutodistStagedFile> owned(std::exchange(*file, nullptr));
  const absl::Status status =
      autodist::Guarded([&] { return owned->staged.MoveTo(owned->target); });
  *is_moved = owned->staged.is_moved() ? 1 : 0;
  return autodist::Report(status, message, capacity);
}

void autodist_discard_file(AutodistStagedFile** file) { delete std::exchange(*file, nullptr); }
