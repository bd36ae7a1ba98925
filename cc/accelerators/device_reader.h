// Reads the bytes of a tensor on an accelerator through blocks of host memory.
//
// While a thread sums and writes a block, the next ones are on their way:
//
//   thread   wait 0 | write 0 | wait 1 | write 1 ...
//   device   copy 0 , 1 , 2   | copy 3          | copy 4 ...
//
// A block that was begun ahead of its reader is kept until somebody reads exactly that.

#ifndef AUTODIST_ACCELERATORS_DEVICE_READER_H_
#define AUTODIST_ACCELERATORS_DEVICE_READER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "accelerators/accelerator.h"
#include "images/byte_reader.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Thread-safe. Whoever destroys it waits for copies that are under way; so a variable whose lock is
// held until then is not written meanwhile.
class DeviceReader : public ByteReader {
 public:
  // Most blocks that are copied before somebody reads them.
  static constexpr size_t kMostAhead = 3;

  // `name`, of the variable, is for messages. REQUIRES: the bytes of `tensor` do not change.
  DeviceReader(std::shared_ptr<Accelerator> accelerator, tensorflow::Tensor tensor,
               std::string name);
  ~DeviceReader() override;
  DeviceReader(const DeviceReader&) = delete;
  DeviceReader& operator=(const DeviceReader&) = delete;

  absl::Status Read(const char* at, int64_t size, char* to) override;
  void Release(const char*, int64_t) override {}
  void Expect(const char* at, int64_t size) override;

 private:
  // A copy that was begun.
  struct Copy {
    tensorflow::Tensor from;   // on the device
    tensorflow::Tensor to;     // in `block`
    tensorflow::Tensor block;  // of the ring
    CopyEnd end;
  };

  absl::Status ReadBlock(int64_t begin, int64_t size, char* to);
  absl::StatusOr<std::shared_ptr<Copy>> Begin(int64_t begin, int64_t size,
                                              tensorflow::Tensor block);
  void RunAhead();
  void GiveBack(Copy* copy);
  absl::Status Named(const absl::Status& status) const;

  const std::shared_ptr<Accelerator> accelerator_;
  const tensorflow::Tensor tensor_;
  const char* const bytes_;
  const std::string name_;
  std::mutex mutex_;
  std::map<int64_t, std::shared_ptr<Copy>> ahead_;  // by first byte
  int64_t next_ = 0;                                // before this nothing is begun ahead
  int64_t expected_end_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_ACCELERATORS_DEVICE_READER_H_
