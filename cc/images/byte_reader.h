// Bytes that a thread cannot read where they are: an image of memory, or memory of an accelerator.

#ifndef AUTODIST_IMAGES_BYTE_READER_H_
#define AUTODIST_IMAGES_BYTE_READER_H_

#include <cstdint>

#include "absl/status/status.h"

namespace autodist {

class ByteReader {
 public:
  virtual ~ByteReader() = default;

  // Copies [at, at + size) to `to`. Thread-safe.
  virtual absl::Status Read(const char* at, int64_t size, char* to) = 0;

  // Says that [at, at + size) will not be read again. At most once for each byte. Thread-safe.
  virtual void Release(const char* at, int64_t size) = 0;

  // Says that [at, at + size) is read next, block by block (threads/block.h). Thread-safe.
  virtual void Expect(const char* at, int64_t size) {
    (void)at;
    (void)size;
  }
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_BYTE_READER_H_
