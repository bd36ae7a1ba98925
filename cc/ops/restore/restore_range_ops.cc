// The ops of a restore of several tasks that read bytes of the checkpoint. Those that begin and end
// it: restore_session_ops.cc.

#include <fcntl.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "format/index/bundle_names.h"
#include "format/reader/bundle_reader.h"
#include "format/reader/data_files.h"
#include "format/values/copy_and_sum.h"
#include "ops/kernel_inputs.h"
#include "ops/listeners.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "restore/file_ranges.h"
#include "sessions/restore_session.h"
#include "storage/posix/posix_io.h"
#include "streams/data_connection.h"
#include "streams/data_connections.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "threads/block.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::InferenceContext;

absl::Status VectorShape(InferenceContext* context) {
  for (int i = 0; i < context->num_outputs(); ++i) {
    context->set_output(i, context->Vector(context->UnknownDim()));
  }
  return absl::OkStatus();
}

absl::Status VectorAndScalarShape(InferenceContext* context) {
  context->set_output(0, context->Vector(context->UnknownDim()));
  context->set_output(1, context->Scalar());
  return absl::OkStatus();
}

REGISTER_OP("AutodistSumRanges")
    .Input("restore_id: string")
    .Input("ranges: int64")
    .Output("crcs: int64")
    .Output("moved_bytes: int64")
    .Attr("threads: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn(VectorAndScalarShape)
    .Doc(R"doc(
Computes the CRCs of bytes of a checkpoint.

restore_id: As in AutodistOpenRestore.
ranges: For each range the number of its data file, its offset there and its size.
crcs: The CRC of each, unmasked.
moved_bytes: Scalar. How many bytes this task has read or written since the restore began.
threads: How many threads read; 0 lets the machine decide.
)doc");

REGISTER_OP("AutodistReadRanges")
    .Input("restore_id: string")
    .Input("ranges: int64")
    .Output("bytes: uint8")
    .Attr("threads: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Reads bytes of a checkpoint, to be sent.

restore_id: As in AutodistOpenRestore.
ranges: As in AutodistSumRanges.
bytes: Those of all ranges, one after the other.
threads: As in AutodistSumRanges.
)doc");

REGISTER_OP("AutodistFillRanges")
    .Input("restore_id: string")
    .Input("ranges: int64")
    .Input("buffers: num_buffers * uint8")
    .Output("crcs: int64")
    .Attr("num_buffers: int >= 0")
    .Attr("live: bool")
    .Attr("threads: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Writes bytes of a checkpoint into the targets of a restore on this task.

restore_id: As in AutodistOpenRestore.
ranges: For each range the number of its entry in the `part` of AutodistJoinRestore, and its first
  byte and the one past its last.
buffers: The bytes, from AutodistReadRanges; none: this task reads them.
crcs: The CRC of each range, unmasked.
live: Whether the targets are those that have a value, which they lose until it is published, or the
others.
threads: As in AutodistSumRanges.
)doc");

REGISTER_OP("AutodistSendRanges")
    .Input("restore_id: string")
    .Input("ranges: int64")
    .Input("number: int64")
    .Output("sent_bytes: int64")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
Reads bytes of a checkpoint on the chief, and sends them over a data connection.

restore_id: As in AutodistOpenRestore.
ranges: As in AutodistSumRanges.
number: Scalar. The number of the task that they are sent to.
sent_bytes: Scalar.
)doc");

REGISTER_OP("AutodistReceiveRanges")
    .Input("restore_id: string")
    .Input("ranges: int64")
    .Output("crcs: int64")
    .Attr("live: bool")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Writes what AutodistSendRanges sends into the targets of a restore on this task.

restore_id: As in AutodistOpenRestore.
ranges: As in AutodistFillRanges; in the order of those that are sent.
crcs: The CRC of each range, unmasked.
live: As in AutodistFillRanges.
)doc");

constexpr size_t kRangeNumbers = 3;

absl::StatusOr<std::vector<int64_t>> RangeNumbers(OpKernelContext* context) {
  std::vector<int64_t> numbers = NumbersInput(context, 1);
  if (numbers.size() % kRangeNumbers == 0) return numbers;
  return absl::InvalidArgumentError(absl::StrCat(numbers.size(), " numbers are not whole ranges"));
}

// The ranges of files that are input 1, which are opened.
absl::StatusOr<std::vector<FileRange>> FileRangesInput(OpKernelContext* context, DataFiles* files,
                                                       int shard_count) {
  absl::StatusOr<std::vector<int64_t>> numbers = RangeNumbers(context);
  if (!numbers.ok()) return numbers.status();
  std::vector<FileRange> ranges;
  for (size_t i = 0; i < numbers->size(); i += kRangeNumbers) {
    const int64_t shard = (*numbers)[i], offset = (*numbers)[i + 1], size = (*numbers)[i + 2];
    if (shard < 0 || shard >= shard_count || offset < 0 || size < 0 || offset > INT64_MAX - size) {
      return absl::InvalidArgumentError(absl::StrCat("data file ", shard, " of ", shard_count,
                                                     " has no ", size, " bytes at ", offset));
    }
    BundleEntry entry{};
    entry.shard_id = static_cast<int>(shard);
    entry.offset = offset;
    entry.size_bytes = size;
    const absl::Status opened = files->Open(entry);
    if (!opened.ok()) return opened;
    ranges.push_back({static_cast<int>(shard), offset, size});
  }
  return ranges;
}

// An op on ranges of the data files.
class RangesOp : public SessionOp<RestoreSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(RestoreSession* restore, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) final {
    DataFiles files(restore->prefix(), restore->shard_count());
    auto ranges = FileRangesInput(context, &files, restore->shard_count());
    if (!ranges.ok()) return ranges.status();
    return WorkOn(files, *ranges, restore, context, cancelled);
  }

  virtual absl::Status WorkOn(const DataFiles& files, const std::vector<FileRange>& ranges,
                              RestoreSession* restore, OpKernelContext* context,
                              const std::atomic<bool>& cancelled) = 0;
};

class SumRangesOp : public RangesOp {
 public:
  using RangesOp::RangesOp;

 private:
  absl::Status WorkOn(const DataFiles& files, const std::vector<FileRange>& ranges,
                      RestoreSession* restore, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    absl::StatusOr<std::vector<uint32_t>> sums =
        ReadRanges(files, ranges, nullptr, threads_, &cancelled, restore->progress());
    if (!sums.ok()) return sums.status();
    restore->Touch();
    SetVector<int64_t>(context, 0, *sums);
    SetScalar<int64_t>(context, 1, restore->progress()->done_bytes());
    return absl::OkStatus();
  }
};

class ReadRangesOp : public RangesOp {
 public:
  using RangesOp::RangesOp;

 private:
  absl::Status WorkOn(const DataFiles& files, const std::vector<FileRange>& ranges, RestoreSession*,
                      OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    int64_t size_bytes = 0;
    for (const FileRange& range : ranges) size_bytes += range.size_bytes;
    Tensor* bytes;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({size_bytes}), &bytes));
    char* out = reinterpret_cast<char*>(bytes->flat<uint8_t>().data());
    return ReadRanges(files, ranges, out, threads_, &cancelled).status();
  }
};

// Sends ranges of data files. The kernel sends those of local files, from its page cache.
class RangeSender {
 public:
  RangeSender(const DataFiles& files, const RestoreSession& restore, DataConnection* connection,
              const std::atomic<bool>& cancelled)
      : files_(files), restore_(restore), connection_(*connection), cancelled_(cancelled) {}

  // Each block in a frame of its own (RestoreSession::FillFrom).
  absl::Status Send(const FileRange& range) {
    for (int64_t block = 0; block < BlockCount(range.size_bytes); ++block) {
      const absl::Status sent = SendBlock(range.shard_id, range.offset + block * kBlockBytes,
                                          BlockSize(range.size_bytes, block));
      if (!sent.ok()) return sent;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status SendBlock(int shard, int64_t offset, int64_t size) {
    Descriptor& local = LocalFile(shard);
    if (local.get() >= 0) {
      absl::Status sent = connection_.SendFile(local.get(), offset, size, cancelled_);
      if (absl::IsDataLoss(sent)) {
        return absl::DataLossError(absl::StrCat(NameOf(shard), ": ", sent.message()));
      }
      if (!absl::IsUnimplemented(sent)) return sent;
      local = Descriptor(-1);
    }
    if (buffer_.data() == nullptr) return NoMemory();
    const absl::Status read = files_.Read(shard, offset, size, buffer_.data());
    if (!read.ok()) return read;
    return connection_.Send(absl::string_view(buffer_.data(), size), Sum(buffer_.data(), size),
                            cancelled_);
  }

  std::string NameOf(int shard) const {
    return DataName(restore_.prefix(), shard, restore_.shard_count());
  }

  // Negative where the file is not local.
  Descriptor& LocalFile(int shard) {
    const auto [found, is_new] = local_files_.emplace(shard, Descriptor(-1));
    if (is_new && !absl::StrContains(restore_.prefix(), "://")) {
      found->second = Descriptor(open(NameOf(shard).c_str(), O_RDONLY | O_CLOEXEC));
    }
    return found->second;
  }

  const DataFiles& files_;
  const RestoreSession& restore_;
  DataConnection& connection_;
  const std::atomic<bool>& cancelled_;
  BlockBuffer buffer_;
  std::map<int, Descriptor> local_files_;
};

class SendRangesOp : public RangesOp {
 public:
  using RangesOp::RangesOp;

 private:
  absl::Status WorkOn(const DataFiles& files, const std::vector<FileRange>& ranges,
                      RestoreSession* restore, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    const auto number = static_cast<uint32_t>(context->input(2).flat<int64_t>()(0));
    const auto connection = restore->connections().Find(number);
    if (!connection.ok()) return connection.status();
    RangeSender sender(files, *restore, connection->get(), cancelled);
    int64_t sent_bytes = 0;
    for (const FileRange& range : ranges) {
      const absl::Status sent = sender.Send(range);
      if (!sent.ok()) return OfLostTask(sent);
      sent_bytes += range.size_bytes;
    }
    restore->Touch();
    SetScalar<int64_t>(context, 0, sent_bytes);
    return absl::OkStatus();
  }
};

// The ranges of entries that are input 1.
absl::StatusOr<std::vector<RestoreSession::Range>> EntryRangesInput(OpKernelContext* context) {
  const absl::StatusOr<std::vector<int64_t>> numbers = RangeNumbers(context);
  if (!numbers.ok()) return numbers.status();
  std::vector<RestoreSession::Range> ranges;
  for (size_t i = 0; i < numbers->size(); i += kRangeNumbers) {
    ranges.push_back({(*numbers)[i], (*numbers)[i + 1], (*numbers)[i + 2]});
  }
  return ranges;
}

// An op that fills ranges of entries, of the targets with a value or of the others.
class TargetsOp : public SessionOp<RestoreSession> {
 public:
  explicit TargetsOp(tensorflow::OpKernelConstruction* context) : SessionOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("live", &live_));
  }

 private:
  absl::Status WorkIn(RestoreSession* restore, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) final {
    const auto ranges = EntryRangesInput(context);
    if (!ranges.ok()) return ranges.status();
    const auto sums = Fill(live_, *ranges, restore, context, cancelled);
    if (!sums.ok()) return sums.status();
    restore->Touch();
    SetVector<int64_t>(context, 0, *sums);
    return absl::OkStatus();
  }

  // Returns the sum of each range.
  virtual absl::StatusOr<std::vector<uint32_t>> Fill(
      bool live, const std::vector<RestoreSession::Range>& ranges, RestoreSession* restore,
      OpKernelContext* context, const std::atomic<bool>& cancelled) = 0;

  bool live_;
};

class ReceiveRangesOp : public TargetsOp {
 public:
  using TargetsOp::TargetsOp;

 private:
  absl::StatusOr<std::vector<uint32_t>> Fill(bool live,
                                             const std::vector<RestoreSession::Range>& ranges,
                                             RestoreSession* restore, OpKernelContext*,
                                             const std::atomic<bool>& cancelled) override {
    const auto connection = restore->connections().Find(kChiefNumber);
    if (!connection.ok()) return connection.status();
    auto sums = restore->FillFrom(connection->get(), live, ranges, cancelled);
    if (!sums.ok()) return OfLostTask(sums.status());
    return sums;
  }
};

class FillRangesOp : public TargetsOp {
 public:
  using TargetsOp::TargetsOp;

 private:
  absl::StatusOr<std::vector<uint32_t>> Fill(bool live,
                                             const std::vector<RestoreSession::Range>& ranges,
                                             RestoreSession* restore, OpKernelContext* context,
                                             const std::atomic<bool>& cancelled) override {
    absl::string_view bytes;
    if (context->num_inputs() > kFixedInputs) bytes = context->input(kFixedInputs).tensor_data();
    return restore->Fill(live, ranges, bytes, threads_, &cancelled);
  }

  static constexpr int kFixedInputs = 2;  // restore_id, ranges
};

REGISTER_KERNEL_BUILDER(Name("AutodistSumRanges").Device(tensorflow::DEVICE_CPU), SumRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistReadRanges").Device(tensorflow::DEVICE_CPU), ReadRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistSendRanges").Device(tensorflow::DEVICE_CPU), SendRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistReceiveRanges").Device(tensorflow::DEVICE_CPU),
                        ReceiveRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistFillRanges").Device(tensorflow::DEVICE_CPU), FillRangesOp);

}  // namespace
}  // namespace autodist
