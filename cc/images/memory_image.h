// Memory as it was at one instant, read while others go on writing to it.
//
//   Prepare(ranges)   before the instant: may take long, gets all the memory that is needed
//   Take(places)      at the instant: nobody writes to the ranges until it has returned
//   Read(), Release() afterwards, from any thread: the bytes as they were at the instant
//   Finish()          says whether all that was read was as it was at the instant
//
// There are three kinds of images: protected_image.h, forked_image.h, copied_image.h. The first
// stops writers for the shortest time, and the last works everywhere. A *writer* is a thread that
// updates a variable.

#ifndef AUTODIST_IMAGES_MEMORY_IMAGE_H_
#define AUTODIST_IMAGES_MEMORY_IMAGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/byte_reader.h"

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

// REQUIRES: the ranges stay mapped from Prepare() until the image ends. The destructor ends an
// image for which nobody has called Finish().
class MemoryImage : public ByteReader {
 public:
  // Gets ready to take an image of `ranges`, which do not overlap. FailedPrecondition or
  // ResourceExhausted if this kind of image is not possible on this system.
  virtual absl::Status Prepare(absl::Span<const MemoryRange> ranges) = 0;

  // Takes the image. The ranges may have moved since Prepare(); Aborted if they have other sizes.
  // Does not allocate, wait or touch files. After an error there is no image, and nothing is
  // protected.
  virtual absl::Status Take(absl::Span<const MemoryRange> ranges) = 0;

  // After Take(), once writers may go on: lets go of ranges that have moved since Prepare(). Call
  // it before their memory is freed.
  virtual void LeaveFormer() {}

  // Ends the image. REQUIRES: no thread reads any more. An error means: what was read may not be as
  // it was at the instant.
  virtual absl::Status Finish() = 0;

  // After Finish().
  virtual ImageReport report() const = 0;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_MEMORY_IMAGE_H_
