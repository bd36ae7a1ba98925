// The codes of errors that may leave a save or restore.
//
// TensorFlow's monitored sessions and coordinators take OutOfRange for the end of the data, and end
// training as if all was well. They take Aborted and Unavailable for a lost task, and train again
// from the last checkpoint, for ever. An error of a file system must be neither.

#ifndef AUTODIST_STORAGE_FINAL_STATUS_H_
#define AUTODIST_STORAGE_FINAL_STATUS_H_

#include "absl/status/status.h"

namespace autodist {

// `status` with another code in place of OutOfRange, Aborted and Unavailable; the message stays.
absl::Status FinalStatus(const absl::Status& status);

// The code for an errno value. It is TensorFlow's, unless that is one of those, or DeadlineExceeded
// or Cancelled: a file system that does not answer is none of these.
absl::StatusCode CodeOfErrno(int error);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_FINAL_STATUS_H_
