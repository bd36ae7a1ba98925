// An image in the memory of a forked child: the kernel copies a page at the first write to it.
//
//   parent   Take(): clone()            Read(): process_vm_readv(child)   Release(): "drop" -->|
//   child    sleeps; at each "drop", gives those pages back to the system; ends with the pipe
//
// The child runs only system calls: it allocates nothing and takes no lock. It keeps no descriptor
// but the pipe, so it holds no lock on a file and no port. It ends with its parent.

#ifndef AUTODIST_IMAGES_FORKED_IMAGE_H_
#define AUTODIST_IMAGES_FORKED_IMAGE_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/chunks.h"
#include "images/memory_image.h"

namespace autodist {

class ForkedImage : public MemoryImage {
 public:
  ~ForkedImage() override;

  absl::Status Prepare(absl::Span<const MemoryRange> ranges) override;
  absl::Status Take(absl::Span<const MemoryRange> ranges) override;
  absl::Status Read(const char* at, int64_t size, char* to) override;
  void Release(const char* at, int64_t size) override;
  absl::Status Finish() override;
  ImageReport report() const override { return report_; }

  // The child, 0 if there is none.
  pid_t child() const { return child_; }

 private:
  absl::Status CheckReadable();
  void EndChild();

  std::unique_ptr<Chunks> chunks_;
  ImageReport report_;
  std::vector<iovec> probes_;  // the first byte of each range
  std::vector<char> probed_;
  int read_end_ = -1;
  int write_end_ = -1;
  pid_t child_ = 0;
  std::mutex drop_mutex_;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_FORKED_IMAGE_H_
