// Writes bytes into a tensor on an accelerator, through blocks of host memory.
//
// A thread copies its bytes into a block, and goes on while the device fetches them from there.
// Bytes that lie apart in the tensor share a block, and are copied one range after the other.

#ifndef AUTODIST_ACCELERATORS_DEVICE_WRITER_H_
#define AUTODIST_ACCELERATORS_DEVICE_WRITER_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "accelerators/accelerator.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Thread-safe. Whoever destroys it waits for copies that are under way.
class DeviceWriter {
 public:
  // REQUIRES: nobody else uses the bytes of `tensor` meanwhile.
  DeviceWriter(std::shared_ptr<Accelerator> accelerator, tensorflow::Tensor tensor);
  ~DeviceWriter();
  DeviceWriter(const DeviceWriter&) = delete;
  DeviceWriter& operator=(const DeviceWriter&) = delete;

  // Bytes that one thread writes. What was added is on its way after Send().
  class Batch {
   public:
    explicit Batch(DeviceWriter* writer) : writer_(*writer) {}
    // Drops what was not sent.
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    // Writes `bytes`, which may go afterwards, from `begin` of the tensor on.
    absl::Status Add(int64_t begin, const char* bytes, int64_t size);
    absl::Status Send();

   private:
    friend class DeviceWriter;
    struct Range {
      int64_t begin;  // in the tensor
      int64_t size;
    };

    DeviceWriter& writer_;
    tensorflow::Tensor block_;
    std::vector<Range> ranges_;  // one after the other in the block
    int64_t used_bytes_ = 0;
  };

  // Waits until everything has arrived. Returns the first error.
  absl::Status Finish();

 private:
  // A block on its way.
  struct Upload {
    tensorflow::Tensor block;
    std::vector<tensorflow::Tensor> from, to;
    size_t unfinished;  // guarded by mutex_
  };

  absl::Status Send(tensorflow::Tensor block, const std::vector<Batch::Range>& ranges);
  void EndOne(Upload* upload, const absl::Status& status);

  const std::shared_ptr<Accelerator> accelerator_;
  tensorflow::Tensor tensor_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int64_t uploads_ = 0;  // that are under way
  absl::Status status_;
};

}  // namespace autodist

#endif  // AUTODIST_ACCELERATORS_DEVICE_WRITER_H_
