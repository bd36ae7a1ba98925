// An image that copies all ranges while writers wait. It needs nothing but memory.

#ifndef AUTODIST_IMAGES_COPIED_IMAGE_H_
#define AUTODIST_IMAGES_COPIED_IMAGE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/chunks.h"
#include "images/memory_image.h"
#include "images/system/mapped_memory.h"

namespace autodist {

class CopiedImage : public MemoryImage {
 public:
  // Prepare() fails if the ranges have more than `memory_bytes`.
  explicit CopiedImage(int64_t memory_bytes) : memory_bytes_(memory_bytes) {}

  absl::Status Prepare(absl::Span<const MemoryRange> ranges) override;
  absl::Status Take(absl::Span<const MemoryRange> ranges) override;
  absl::Status Read(const char* at, int64_t size, char* to) override;
  void Release(const char* at, int64_t size) override;
  absl::Status Finish() override { return absl::OkStatus(); }
  ImageReport report() const override { return report_; }

 private:
  const int64_t memory_bytes_;
  std::unique_ptr<Chunks> chunks_;
  MappedMemory copy_;
  ImageReport report_;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_COPIED_IMAGE_H_
