// Memory as it was at one instant, read while others go on writing to it.
//
//   Prepare(ranges)   before the instant: takes its time, gets all the memory that is needed
//   Take(places)      at the instant: nobody writes to the ranges until it has returned
//   Read(), Release() afterwards, from any thread: the bytes as they were at the instant
//   Finish()          says whether all that was read was as it was at the instant
//
// Three ways to do it, from the one that stops writers for the shortest time to the one that works
// everywhere: protected_image.h, forked_image.h, copied_image.h.

#ifndef AUTODIST_IMAGES_MEMORY_IMAGE_H_
#define AUTODIST_IMAGES_MEMORY_IMAGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace autodist {

struct MemoryRange {
  char* begin;
  int64_t size;  // bytes
};

// What an image cost.
struct ImageReport {
  int64_t copied_bytes = 0;     // by Take(), while writers wait
  int64_t faults = 0;           // times a writer waited for a page afterwards
  int64_t most_side_bytes = 0;  // the most memory that it took beside the ranges
  int64_t spilled_bytes = 0;    // written to a file, because that memory was full
};

// The ranges stay mapped from Prepare() to the image's end. The destructor ends what Finish() has
// not.
class MemoryImage {
 public:
  virtual ~MemoryImage() = default;

  // Ranges that do not overlap. FailedPrecondition or Unimplemented where the system does not allow
  // this way.
  virtual absl::Status Prepare(absl::Span<const MemoryRange> ranges) = 0;

  // The ranges may have moved since, but have the sizes they had: else Aborted. Does not allocate,
  // wait or touch files. After an error there is no image, and the memory is as it was.
  virtual absl::Status Take(absl::Span<const MemoryRange> ranges) = 0;

  // Copies [at, at + size), which lies in one of the ranges, to `to`. Thread-safe.
  virtual absl::Status Read(const char* at, int64_t size, char* to) = 0;

  // [at, at + size) is not read again. Once for each byte at most. Thread-safe.
  virtual void Release(const char* at, int64_t size) = 0;

  // No thread reads any more. Not ok: what was read may be of another time.
  virtual absl::Status Finish() = 0;

  // After Finish().
  virtual ImageReport report() const = 0;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_MEMORY_IMAGE_H_
