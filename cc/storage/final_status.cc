// The codes of errors that may leave a save or restore.

#include "storage/final_status.h"

#include <cerrno>

namespace autodist {
namespace {

absl::StatusCode FinalCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOutOfRange:
      return absl::StatusCode::kResourceExhausted;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnavailable:
      return absl::StatusCode::kUnknown;  // as EIO
    default:
      return code;
  }
}

}  // namespace

absl::Status FinalStatus(const absl::Status& status) {
  const absl::StatusCode code = FinalCode(status.code());
  return code == status.code() ? status : absl::Status(code, status.message());
}

absl::StatusCode CodeOfErrno(int error) {
  switch (error) {
    case ENOLCK:
      return absl::StatusCode::kResourceExhausted;
    case ETIME:
    case ETIMEDOUT:
    case ECANCELED:
      return absl::StatusCode::kUnknown;
    default:
      return FinalCode(absl::ErrnoToStatusCode(error));
  }
}

}  // namespace autodist
