// Whether memory belongs to this process alone.

#ifndef AUTODIST_IMAGES_SYSTEM_PRIVATE_MEMORY_H_
#define AUTODIST_IMAGES_SYSTEM_PRIVATE_MEMORY_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/memory_image.h"

namespace autodist {

// Ok if nobody but this process can write to the ranges, so that a fork keeps them and a protected
// page of them stays as it is. FailedPrecondition if others map some of them too, or if the system
// does not say.
absl::Status CheckPrivate(absl::Span<const MemoryRange> ranges);

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_PRIVATE_MEMORY_H_
