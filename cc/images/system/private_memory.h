// Whether memory belongs to this process alone.

#ifndef AUTODIST_IMAGES_SYSTEM_PRIVATE_MEMORY_H_
#define AUTODIST_IMAGES_SYSTEM_PRIVATE_MEMORY_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/memory_image.h"

namespace autodist {

// Checks that only this process can write to the ranges. Else neither a fork nor protected pages
// keep their bytes. FailedPrecondition if another process may map some of them, or if the system
// does not say.
absl::Status CheckPrivate(absl::Span<const MemoryRange> ranges);

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_PRIVATE_MEMORY_H_
