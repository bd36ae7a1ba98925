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
#include "save/data/captured_ranges.h"
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

// A range of bytes of the data file.
struct ByteRange {
  int64_t begin;
  int64_t end;
  int64_t size() const { return end - begin; }
};

// The ranges that input 1 has: of each its first byte and the one past its last.
absl::StatusOr<std::vector<ByteRange>> RangesInput(OpKernelContext* context) {
  const std::vector<int64_t> numbers = NumbersInput(context, 1);
  bool are_ranges = numbers.size() % 2 == 0;
  std::vector<ByteRange> ranges;
  for (size_t i = 0; are_ranges && i < numbers.size(); i += 2) {
    ranges.push_back({numbers[i], numbers[i + 1]});
    are_ranges = numbers[i] >= 0 && numbers[i + 1] > numbers[i];
  }
  if (are_ranges) return ranges;
  return absl::InvalidArgumentError("ranges of a file have a first byte and one past the last");
}

// Takes the bytes of the ranges that input 1 has, which this task has kept.
absl::StatusOr<std::vector<std::string>> TakeRanges(OpKernelContext* context,
                                                    CapturedRanges* captured) {
  const auto ranges = RangesInput(context);
  if (!ranges.ok()) return ranges.status();
  std::vector<std::string> all;
  for (const ByteRange& range : *ranges) {
    absl::StatusOr<std::string> bytes = captured->Take(range.begin, range.end);
    if (!bytes.ok()) return bytes.status();
    all.push_back(*std::move(bytes));
  }
  return all;
}

int64_t CrcOf(const std::string& bytes) {
  return static_cast<uint32_t>(absl::ComputeCrc32c(bytes));
}

class ShareBlocksOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    absl::Status status = save->given().Set(NumbersInput(context, 1));
    if (status.ok()) status = save->checked().Set(NumbersInput(context, 2));
    if (status.ok()) SetScalar<int64_t>(context, 0, 1);
    return status;
  }
};

class ReadGivenOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const auto pieces = TakeRanges(context, &save->given());
    if (!pieces.ok()) return pieces.status();
    int64_t size_bytes = 0;
    for (const std::string& piece : *pieces) size_bytes += static_cast<int64_t>(piece.size());
    Tensor* buffer;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({size_bytes}), &buffer));
    char* out = reinterpret_cast<char*>(buffer->flat<uint8_t>().data());
    for (const std::string& piece : *pieces) {
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
    const auto ranges = RangesInput(context);
    if (!ranges.ok()) return ranges.status();
    size_t next = 0;
    for (int input = kFixedInputs; input < context->num_inputs(); ++input) {
      absl::string_view bytes = context->input(input).tensor_data();
      while (!bytes.empty()) {
        if (next == ranges->size()) return WrongSizes();
        const ByteRange& range = (*ranges)[next++];
        const size_t size = range.size();
        if (size > bytes.size()) return WrongSizes();
        absl::Status status = save->Write(range.begin, bytes.substr(0, size));
        if (!status.ok()) return status;
        bytes.remove_prefix(size);
      }
    }
    if (next != ranges->size()) return WrongSizes();
    SetScalar<int64_t>(context, 0, 1);
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
    const auto pieces = TakeRanges(context, &save->checked());
    if (!pieces.ok()) return pieces.status();
    std::vector<int64_t> crcs;
    for (const std::string& piece : *pieces) crcs.push_back(CrcOf(piece));
    SetVector<int64_t>(context, 0, crcs);
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
    const auto ranges = RangesInput(context);
    if (!ranges.ok()) return ranges.status();
    const Descriptor file(open(path->c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status;
    if (file.get() < 0 || fstat(file.get(), &status) != 0) {
      return PosixError("cannot read again", *path, errno);
    }
    std::vector<int64_t> crcs = {static_cast<int64_t>(status.st_size)};
    for (const ByteRange& range : *ranges) {
      absl::StatusOr<std::string> bytes = Read(file, *path, range);
      if (!bytes.ok()) return bytes.status();
      const bool is_all = static_cast<int64_t>(bytes->size()) == range.size();
      crcs.push_back(is_all ? CrcOf(*bytes) : -1);
    }
    SetVector<int64_t>(context, 0, crcs);
    return absl::OkStatus();
  }

  // The bytes of a range, fewer where the file ends before.
  static absl::StatusOr<std::string> Read(const Descriptor& file, const std::string& path,
                                          ByteRange range) {
    std::string bytes;
    while (range.begin < range.end) {
      char block[4096];
      const int64_t wanted = std::min<int64_t>(range.size(), sizeof block);
      const ssize_t size = pread(file.get(), block, wanted, range.begin);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return PosixError("cannot read again", path, errno);
      if (size == 0) break;
      bytes.append(block, size);
      range.begin += size;
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
