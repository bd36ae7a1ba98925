// Reads a checkpoint's index through TensorFlow's file systems; see the header.

#include "format/index/table_reader.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/printable.h"
#include "tables/table/byte_source.h"
#include "tables/table/table_reader.h"
#include "tensorflow/core/platform/env.h"
#include "versions/tensorflow_versions.h"

namespace autodist {
namespace {

// A file of TensorFlow's Env. What the file system fails with is kept beside the outcome.
class EnvSource : public ByteSource {
 public:
  absl::Status Open(const std::string& path) {
    tsl::Env* env = tsl::Env::Default();
    absl::Status status = env->GetFileSize(path, &size_bytes_);
    if (status.ok()) status = env->NewRandomAccessFile(path, &file_);
    return status;
  }

  uint64_t size_bytes() const override { return size_bytes_; }

  Outcome Read(uint64_t offset, uint64_t size, char* out) const override {
    absl::string_view result;
    absl::Status status = ReadFileBytes(*file_, offset, absl::MakeSpan(out, size), &result);
    if (!status.ok() && !absl::IsOutOfRange(status)) {
      failure_ = std::move(status);
      return Outcome::Stopped();
    }
    if (result.size() != size) return Outcome::Damaged("it ends early");
    if (result.data() != out) std::memmove(out, result.data(), size);
    return Outcome::Good();
  }

  const absl::Status& failure() const { return failure_; }

 private:
  std::unique_ptr<tsl::RandomAccessFile> file_;
  uint64_t size_bytes_ = 0;
  mutable absl::Status failure_;
};

}  // namespace

absl::Status ReadTable(
    const std::string& path,
    const std::function<absl::Status(const std::string& key, absl::string_view value)>& visit) {
  EnvSource source;
  absl::Status status = source.Open(path);
  if (!status.ok()) return status;
  const Outcome outcome = ReadTable(source, [&](const std::string& key, std::string_view value) {
    status = visit(key, value);
    return status.ok() ? Outcome::Good() : Outcome::Stopped();
  });
  switch (outcome.kind()) {
    case OutcomeKind::kGood:
      return absl::OkStatus();
    case OutcomeKind::kStopped:
      if (!status.ok() && !absl::IsDataLoss(status)) return status;
      if (status.ok()) return source.failure();
      return absl::DataLossError(absl::StrCat(Printable(path), ": ", status.message()));
    case OutcomeKind::kNoMemory:
      return absl::ResourceExhaustedError(outcome.text());
    default:
      return absl::DataLossError(absl::StrCat(Printable(path), ": ", outcome.text()));
  }
}

}  // namespace autodist
