// Variables as they were at one instant, for a save that writes them while training goes on.
//
//   not in copy-on-read mode   referred to: whoever updates them copies them first
//   in copy-on-read mode       an image of their memory (images/memory_image.h)
//   of elements of any size    copied
//
// The locks of all variables are held together, in TensorFlow's order, for as long as that takes:
// at that instant no update of one of them is half done.

#ifndef AUTODIST_SESSIONS_INSTANT_H_
#define AUTODIST_SESSIONS_INSTANT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "images/memory_image.h"
#include "sessions/variable_sources.h"

namespace autodist {

enum class ImageMethod { kPages, kFork, kCopy };

struct InstantOptions {
  // Tried one after the other.
  std::vector<ImageMethod> methods = {ImageMethod::kPages, ImageMethod::kFork, ImageMethod::kCopy};
  int64_t memory_bytes = 256 << 20;  // of what is kept of pages that are overwritten
  std::string spill_directory;       // for more; empty: then the save fails
};

// What was taken, and how.
struct Instant {
  std::shared_ptr<MemoryImage> image;  // null if no variable needs one
  std::optional<ImageMethod> method;
  std::string refused;            // which methods were not possible, and why
  double lock_seconds = 0;        // how long the locks were held
  std::optional<size_t> missing;  // the first of the values that has none; nothing was taken
};

std::string MethodName(ImageMethod method);

// Takes all `values` that are variables at one instant: afterwards each has a tensor, and
// `image` where its bytes are read through that. FailedPrecondition if no method is possible.
absl::StatusOr<Instant> TakeInstant(std::vector<SourceValue>* values,
                                    const InstantOptions& options);

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_INSTANT_H_
