// How the functions that Python calls by ctypes tell an error: a code, and a message in the
// caller's memory.

#ifndef AUTODIST_OPS_API_STATUS_H_
#define AUTODIST_OPS_API_STATUS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "bundle/final_status.h"

namespace autodist {

// Copies as much as fits, and a NUL.
inline void CopyText(absl::string_view text, char* to, int64_t capacity) {
  text = text.substr(0, std::max<int64_t>(capacity - 1, 0));
  std::memcpy(to, text.data(), text.size());
  to[text.size()] = '\0';
}

// Returns the status's code (0: fine).
inline int Report(const absl::Status& status, char* message, int64_t capacity) {
  CopyText(status.message(), message, capacity);
  return static_cast<int>(FinalStatus(status).code());
}

}  // namespace autodist

#endif  // AUTODIST_OPS_API_STATUS_H_
