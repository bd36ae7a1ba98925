// What differs between the versions of TensorFlow that we build against, 2.15 to 2.21. No other
// file asks for the version. FindTensorFlow.cmake defines TENSORFLOW_MINOR_VERSION.

#ifndef AUTODIST_VERSIONS_TENSORFLOW_VERSIONS_H_
#define AUTODIST_VERSIONS_TENSORFLOW_VERSIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tensorflow/core/framework/device.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/platform/file_system.h"
#include "tensorflow/core/platform/threadpool.h"

namespace autodist {

// Reads from `offset` as many bytes as `out` has. `*result` are those that were read, in `out` or
// elsewhere. Fails with OutOfRange if the file ends before.
inline absl::Status ReadFileBytes(const tsl::RandomAccessFile& file, uint64_t offset,
                                  absl::Span<char> out, absl::string_view* result) {
#if TENSORFLOW_MINOR_VERSION >= 20
  return file.Read(offset, *result, out);
#else
  return file.Read(offset, out.size(), result, out.data());
#endif
}

// The base class of a file of one's own. It calls ReadInto for all reads.
class ReadableFile : public tsl::RandomAccessFile {
 public:
  // As ReadFileBytes.
  virtual absl::Status ReadInto(uint64_t offset, absl::Span<char> out,
                                absl::string_view* result) const = 0;

#if TENSORFLOW_MINOR_VERSION >= 20
  absl::Status Read(uint64_t offset, absl::string_view& result,
                    absl::Span<char> scratch) const final {
    return ReadInto(offset, scratch, &result);
  }
#else
  absl::Status Read(tensorflow::uint64 offset, size_t size, absl::string_view* result,
                    char* scratch) const final {
    return ReadInto(offset, absl::MakeSpan(scratch, size), result);
  }
#endif
};

// Calls `function` with a value of the C++ type of a float8 dtype and returns its result. A
// value-initialized result for all other dtypes.
template <typename Function>
auto CallWithFloat8(tensorflow::DataType dtype, const Function& function)
    -> decltype(function(tensorflow::float8_e5m2())) {
  switch (dtype) {
    case tensorflow::DT_FLOAT8_E5M2:
      return function(tensorflow::float8_e5m2());
    case tensorflow::DT_FLOAT8_E4M3FN:
      return function(tensorflow::float8_e4m3fn());
#if TENSORFLOW_MINOR_VERSION >= 19
    case tensorflow::DT_FLOAT8_E4M3FNUZ:
      return function(tensorflow::float8_e4m3fnuz());
    case tensorflow::DT_FLOAT8_E4M3B11FNUZ:
      return function(tensorflow::float8_e4m3b11fnuz());
    case tensorflow::DT_FLOAT8_E5M2FNUZ:
      return function(tensorflow::float8_e5m2fnuz());
#endif
    default:
      return {};
  }
}

// How a thread pool cuts work into blocks: by the cycles that a unit of it takes.
inline tsl::thread::ThreadPool::SchedulingParams ByCost(int64_t cycles_per_unit) {
  using Pool = tsl::thread::ThreadPool;
#if TENSORFLOW_MINOR_VERSION >= 20
  return Pool::SchedulingParams::Adaptive(cycles_per_unit);
#else
  return Pool::SchedulingParams(Pool::SchedulingStrategy::kAdaptive, cycles_per_unit, std::nullopt);
#endif
}

// Whether a device copies from the host in the stream in which it computes. 2.16 has no such
// devices.
inline bool MergesHostToDeviceStream(const tensorflow::Device& device) {
#if TENSORFLOW_MINOR_VERSION >= 17
  return device.merge_host_to_device_stream();
#else
  static_cast<void>(device);
  return false;
#endif
}

}  // namespace autodist

#endif  // AUTODIST_VERSIONS_TENSORFLOW_VERSIONS_H_
