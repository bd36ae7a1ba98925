// Ops of a save by several tasks. By them the tasks share the blocks of one file (shared_blocks.h),
// and check that the file holds what they wrote.
//
//   task that reads a block's bytes      task that writes the block       another task
//   AutodistShareBlocks                  AutodistShareBlocks
//   AutodistWriteParts keeps them        AutodistWriteParts
//   AutodistReadGiven             -->    AutodistWriteGiven
//                                        AutodistSumWritten      ==?      AutodistSumFile
//
// Ranges of the file are pairs of numbers: the first byte and the one past the last.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "ops/kernel_inputs.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "sessions/save_session.h"
#include "storage/posix/posix_io.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::ScalarShape;

absl::Status VectorShape(tensorflow::shape_inference::InferenceContext* context) {
  context->set_output(0, context->Vector(context->UnknownDim()));
  return absl::OkStatus();
}

REGISTER_OP("AutodistShareBlocks")
    .Input("save_id: string")
    .Input("given: int64")
    .Input("checked: int64")
    .Output("done: int64")
    .SetIsStateful()
    .SetShapeFn(ScalarShape)
    .Doc(R"doc(
Tells a task, before it writes, which bytes of the data file it keeps.

save_id: As in AutodistOpenSave.
given: Ranges whose bytes this task reads and another writes.
checked: Ranges of which this task says afterwards what it wrote.
done: 1.
)doc");

REGISTER_OP("AutodistReadGiven")
    .Input("save_id: string")
    .Input("ranges: int64")
    .Output("buffer: uint8")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Bytes that this task has read and another writes; they are not kept any longer.

save_id: As in AutodistOpenSave.
ranges: Some of those `given`.
buffer: Their bytes, one range after the other.
)doc");

REGISTER_OP("AutodistWriteGiven")
    .Input("save_id: string")
    .Input("ranges: int64")
    .Input("buffers: num_buffers * uint8")
    .Output("done: int64")
    .Attr("num_buffers: int >= 1")
    .SetIsStateful()
    .SetShapeFn(ScalarShape)
    .Doc(R"doc(
Writes bytes that other tasks have read.

save_id: As in AutodistOpenSave.
ranges: Where they go, for the first buffer, then for the second.
buffers: From AutodistReadGiven.
done: 1.
)doc");

REGISTER_OP("AutodistSumWritten")
    .Input("save_id: string")
    .Input("ranges: int64")
    .Output("crcs: int64")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Sums what this task wrote, from its memory.

save_id: As in AutodistOpenSave.
ranges: Those that it was told as `checked`.
crcs: The CRC of each, unmasked.
)doc");

REGISTER_OP("AutodistSumFile")
    .Input("path: string")
    .Input("ranges: int64")
    .Output("crcs: int64")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Sums what this task reads from a file that it opens now.

path: Scalar. The path.
ranges: What to read, at most a page each or a few.
crcs: The size of the file in bytes, then the CRC of each range, unmasked; -1 where the file ends
before.
)doc");

absl::Status CheckRanges(const std::vector<int64_t>& ranges) {
  bool are_ranges = ranges.size() % 2 == 0;
  for (size_t i = 0; are_ranges && i < ranges.size(); i += 2) {
    are_ranges = ranges[i] >= 0 && ranges[i + 1] > ranges[i];
  }
  if (are_ranges) return absl::OkStatus();
  return absl::InvalidArgumentError("ranges of a file have a first byte and one past the last");
}

class ShareBlocksOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    absl::Status status = save->given().Set(NumbersInput(context, 1));
    if (status.ok()) status = save->checked().Set(NumbersInput(context, 2));
    if (status.ok()) SetScalar(context, 1);
    return status;
  }
};

class ReadGivenOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const std::vector<int64_t> ranges = NumbersInput(context, 1);
    TF_RETURN_IF_ERROR(CheckRanges(ranges));
    std::vector<std::string> bytes;
    int64_t size_bytes = 0;
    for (size_t i = 0; i < ranges.size(); i += 2) {
      absl::StatusOr<std::string> taken = save->given().Take(ranges[i], ranges[i + 1]);
      if (!taken.ok()) return taken.status();
      size_bytes += static_cast<int64_t>(taken->size());
      bytes.push_back(*std::move(taken));
    }
    Tensor* buffer;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({size_bytes}), &buffer));
    char* out = reinterpret_cast<char*>(buffer->flat<uint8_t>().data());
    for (const std::string& piece : bytes) {
      std::memcpy(out, piece.data(), piece.size());
      out += piece.size();
    }
    return absl::OkStatus();
  }
};

class WriteGivenOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const FileSizeErrors file_size_errors;
    const std::vector<int64_t> ranges = NumbersInput(context, 1);
    TF_RETURN_IF_ERROR(CheckRanges(ranges));
    size_t next = 0;
    for (int input = kFixedInputs; input < context->num_inputs(); ++input) {
      absl::string_view bytes = context->input(input).tensor_data();
      while (!bytes.empty()) {
        const size_t size = next < ranges.size() ? ranges[next + 1] - ranges[next] : 0;
        if (size == 0 || size > bytes.size()) return WrongSizes();
        absl::Status status = save->Write(ranges[next], bytes.substr(0, size));
        if (!status.ok()) return status;
        bytes.remove_prefix(size);
        next += 2;
      }
    }
    if (next != ranges.size()) return WrongSizes();
    SetScalar(context, 1);
    return absl::OkStatus();
  }

  static absl::Status WrongSizes() {
    return absl::InternalError("what was sent for the data file is not what was asked for");
  }

  static constexpr int kFixedInputs = 2;  // save_id, ranges
};

class SumWrittenOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const std::vector<int64_t> ranges = NumbersInput(context, 1);
    TF_RETURN_IF_ERROR(CheckRanges(ranges));
    std::vector<int64_t> crcs;
    for (size_t i = 0; i < ranges.size(); i += 2) {
      absl::StatusOr<std::string> bytes = save->checked().Take(ranges[i], ranges[i + 1]);
      if (!bytes.ok()) return bytes.status();
      crcs.push_back(static_cast<uint32_t>(absl::ComputeCrc32c(*bytes)));
    }
    SetVector(context, crcs);
    return absl::OkStatus();
  }
};

class SumFileOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    absl::StatusOr<std::string> path = PrefixInput(context->input(0));
    if (!path.ok()) return path.status();
    const std::vector<int64_t> ranges = NumbersInput(context, 1);
    TF_RETURN_IF_ERROR(CheckRanges(ranges));
    const Descriptor file(open(path->c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status;
    if (file.get() < 0 || fstat(file.get(), &status) != 0) {
      return PosixError("cannot read again", *path, errno);
    }
    std::vector<int64_t> crcs = {static_cast<int64_t>(status.st_size)};
    for (size_t i = 0; i < ranges.size(); i += 2) {
      absl::StatusOr<std::string> bytes = Read(file, *path, ranges[i], ranges[i + 1]);
      if (!bytes.ok()) return bytes.status();
      const bool is_all = static_cast<int64_t>(bytes->size()) == ranges[i + 1] - ranges[i];
      crcs.push_back(is_all ? static_cast<uint32_t>(absl::ComputeCrc32c(*bytes)) : int64_t{-1});
    }
    SetVector(context, crcs);
    return absl::OkStatus();
  }

  // The bytes of a range, fewer where the file ends before.
  static absl::StatusOr<std::string> Read(const Descriptor& file, const std::string& path,
                                          int64_t begin, int64_t end) {
    std::string bytes;
    while (begin < end) {
      char block[4096];
      const int64_t wanted = std::min<int64_t>(end - begin, sizeof block);
      const ssize_t size = pread(file.get(), block, wanted, begin);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return PosixError("cannot read again", path, errno);
      if (size == 0) break;
      bytes.append(block, size);
      begin += size;
    }
    return bytes;
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistShareBlocks").Device(tensorflow::DEVICE_CPU), ShareBlocksOp);
REGISTER_KERNEL_BUILDER(Name("AutodistReadGiven").Device(tensorflow::DEVICE_CPU), ReadGivenOp);
REGISTER_KERNEL_BUILDER(Name("AutodistWriteGiven").Device(tensorflow::DEVICE_CPU), WriteGivenOp);
REGISTER_KERNEL_BUILDER(Name("AutodistSumWritten").Device(tensorflow::DEVICE_CPU), SumWrittenOp);
REGISTER_KERNEL_BUILDER(Name("AutodistSumFile").Device(tensorflow::DEVICE_CPU), SumFileOp);

}  // namespace
}  // namespace autodist
