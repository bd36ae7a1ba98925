// The ops that move the bytes of a save of several tasks. AutodistWriteParts writes parts of the
// data file, from what its task holds and from what others send. AutodistReadParts sends.

#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/values/element_type.h"
#include "ops/kernel_inputs.h"
#include "ops/save/sums_output.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "save/data/data_writer.h"
#include "save/plan/part_codec.h"
#include "sessions/gate.h"
#include "sessions/save_session.h"
#include "sessions/variable_value.h"
#include "storage/posix/posix_io.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "threads/block.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

absl::Status VectorShape(tensorflow::shape_inference::InferenceContext* context) {
  context->set_output(0, context->Vector(context->UnknownDim()));
  return absl::OkStatus();
}

REGISTER_OP("AutodistReadParts")
    .Input("save_id: string")
    .Input("reads: int64")
    .Output("buffer: uint8")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Elements of sources that a task holds, to be sent to a writer.

save_id: As in AutodistOpenSave.
reads: What to read, as cc/save/plan/part_codec.h has it.
buffer: The bytes.
)doc");

REGISTER_OP("AutodistWriteParts")
    .Input("save_id: string")
    .Input("names: string")
    .Input("parts: int64")
    .Input("buffers: num_buffers * uint8")
    .Output("sums: int64")
    .Attr("num_buffers: int >= 0")
    .Attr("lock: {'block', 'copy'} = 'block'")
    .Attr("threads: int >= 0 = 0")
    .Attr("figures: bool = false")
    .SetIsStateful()
    .SetShapeFn(SumsShape)
    .Doc(R"doc(
Writes parts of the data file of a save of several tasks.

save_id: As in AutodistOpenSave.
names: For each part the name of its variable.
parts: The parts, as cc/save/plan/part_codec.h has them.
buffers: What other tasks send, from AutodistReadParts.
sums: A row for each part: its CRC, unmasked; with `figures` also its figures, as
  cc/core/figures/figures.h has them.
lock: As in AutodistSave.
threads: As in AutodistSave.
figures: Whether to compute figures.
)doc");

// A part of a tensor as a tensor of one axis, in the same memory.
absl::StatusOr<Tensor> View(const Tensor& buffer, int64_t offset, int64_t count,
                            tensorflow::DataType dtype) {
  const int64_t element_bytes = SavedElementBytes(dtype);
  const int64_t total = buffer.NumElements();
  if (element_bytes == 0 || offset > total || count > (total - offset) / element_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a buffer of ", total, " bytes has no ", count, " elements at ", offset));
  }
  Tensor view;
  const Tensor bytes = buffer.Slice(offset, offset + count * element_bytes);
  TF_RETURN_IF_ERROR(view.BitcastFrom(bytes, dtype, TensorShape({count})));
  return view;
}

// Elements of a value that is kept, in its own memory; nothing where that is not as a buffer's.
std::optional<Tensor> ViewOf(const SourceValue& value, const PartRead& read) {
  if (!value.has_tensor() || value.image != nullptr) return std::nullopt;
  const int64_t size = value.tensor.TotalBytes();
  const int64_t element_bytes = SavedElementBytes(value.tensor.dtype());
  const int64_t begin = read.first * element_bytes, end = begin + read.count * element_bytes;
  if (begin % kBufferAlignment != 0 || AlignedSize(end) != end || end > size) return std::nullopt;
  Tensor bytes;
  if (!bytes.BitcastFrom(value.tensor, tensorflow::DT_UINT8, TensorShape({size})).ok()) {
    return std::nullopt;
  }
  return bytes.Slice(begin, end);
}

absl::Status EndedError() {
  return absl::FailedPreconditionError("the save was ended before this was read");
}

// Copies bytes of a value, which is read once where it has a reader.
absl::Status CopyValue(const HeldValues& held, int64_t first, int64_t size, char* out) {
  if (size == 0) return absl::OkStatus();
  const char* const from = held.tensors()[0].tensor_data().data() + first;
  ByteReader* const reader = held.reader(0);
  if (reader == nullptr) {
    std::memcpy(out, from, size);
    return absl::OkStatus();
  }
  absl::Status status = reader->Read(from, size, out);
  if (status.ok()) reader->Release(from, size);
  return status;
}

class ReadPartsOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const Gate::Visit visit(&save->reading());
    if (!visit.is_inside()) return EndedError();
    const std::vector<int64_t> numbers = NumbersInput(context, 1);
    absl::StatusOr<std::vector<PartRead>> reads = DecodeReads(numbers);
    if (!reads.ok()) return reads.status();
    int64_t size_bytes = 0;
    std::vector<SourceValue> values;
    for (const PartRead& read : *reads) {
      absl::StatusOr<SourceValue> value = save->Source(read.source);
      if (!value.ok()) return value.status();
      const int64_t elements = value->shape.num_elements();
      const int64_t element_bytes = SavedElementBytes(value->dtype);
      if (element_bytes == 0 || read.first > elements || read.count > elements - read.first) {
        return absl::InvalidArgumentError(absl::StrCat("source ", read.source,
                                                       " of the save has no ", read.count,
                                                       " elements at ", read.first));
      }
      size_bytes += AlignedSize(read.count * element_bytes);
      values.push_back(*std::move(value));
    }
    if (reads->size() == 1) {
      const std::optional<Tensor> view = ViewOf(values[0], (*reads)[0]);
      if (view) {
        context->set_output(0, *view);
        return absl::OkStatus();
      }
    }
    Tensor* buffer;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({size_bytes}), &buffer));
    char* out = reinterpret_cast<char*>(buffer->flat<uint8_t>().data());
    VariableSources sources(std::move(values), LockMode::kBlock);
    for (size_t i = 0; i < reads->size(); ++i) {
      auto held = sources.Acquire({static_cast<int>(i)}, Sources::Hold::kBrief);
      if (!held.ok()) return held.status();
      const Tensor& value = (*held)->tensors()[0];
      const int64_t element_bytes = SavedElementBytes(value.dtype());
      const PartRead& read = (*reads)[i];
      if (element_bytes == 0 || read.first + read.count > value.NumElements()) {
        return absl::FailedPreconditionError("a variable got another shape during the save");
      }
      const int64_t size = read.count * element_bytes;
      absl::Status status = CopyValue(**held, read.first * element_bytes, size, out);
      if (!status.ok()) return status;
      std::memset(out + size, 0, AlignedSize(size) - size);
      out += AlignedSize(size);
    }
    return absl::OkStatus();
  }
};

class WritePartsOp : public SessionOp<SaveSession> {
 public:
  explicit WritePartsOp(tensorflow::OpKernelConstruction* context) : SessionOp(context) {
    std::string lock;
    OP_REQUIRES_OK(context, context->GetAttr("lock", &lock));
    lock_mode_ = lock == "copy" ? LockMode::kCopy : LockMode::kBlock;
    OP_REQUIRES_OK(context, context->GetAttr("figures", &has_figures_));
  }

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    const FileSizeErrors file_size_errors;
    const Gate::Visit visit(&save->reading());
    if (!visit.is_inside()) return EndedError();
    auto names = StringVector(context->input(1), "names", context->input(1).NumElements());
    if (!names.ok()) return names.status();
    absl::StatusOr<PartWork> work =
        DecodeParts(NumbersInput(context, 2), {names->begin(), names->end()}, kBlockBytes);
    if (!work.ok()) return work.status();
    absl::StatusOr<std::vector<SourceValue>> values = Values(context, *work, save);
    if (!values.ok()) return values.status();
    VariableSources sources(*std::move(values), lock_mode_);
    absl::StatusOr<std::vector<TensorStream>> streams = MakeStreams(work->plan, &sources);
    if (!streams.ok()) return streams.status();
    const absl::StatusOr<WrittenData> written = WriteData(
        work->plan, work->file, &*streams, &sources,
        [&](int64_t offset, absl::string_view bytes) { return save->Write(offset, bytes); },
        WritingThreads(threads_, work->file.size_bytes), &cancelled, has_figures_);
    if (!written.ok()) return written.status();
    save->Touch();
    return SetSums(context, written->crcs, written->figures);
  }

  static absl::StatusOr<std::vector<SourceValue>> Values(OpKernelContext* context,
                                                         const PartWork& work, SaveSession* save) {
    // What came from another process is this op's alone; what a task of this process sends may be
    // the value itself.
    std::vector<bool> are_fixed;
    for (int input = kFixedInputs; input < context->num_inputs(); ++input) {
      are_fixed.push_back(IsOnlyReference(context->input(input)));
    }
    std::vector<SourceValue> values;
    values.reserve(work.values.size());
    for (const PlannedTensor& planned : work.plan.tensors) {
      for (const PlannedShard& shard : planned.shards) {
        for (int source : shard.sources) {
          const PartValue& part = work.values[source];
          if (part.buffer == PartValue::kHeld) {
            absl::StatusOr<SourceValue> value = save->Source(part.source);
            if (!value.ok()) return value.status();
            values.push_back(*std::move(value));
            continue;
          }
          if (kFixedInputs + part.buffer >= context->num_inputs()) {
            return absl::InvalidArgumentError(absl::StrCat("there is no buffer ", part.buffer));
          }
          absl::StatusOr<Tensor> view = View(context->input(kFixedInputs + part.buffer),
                                             part.offset, part.count, planned.dtype);
          if (!view.ok()) return view.status();
          values.push_back(TensorValue(*view));
          values.back().is_fixed = are_fixed[part.buffer];
        }
      }
    }
    return values;
  }

  static constexpr int kFixedInputs = 3;  // save_id, names, parts

  LockMode lock_mode_;
  bool has_figures_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistReadParts").Device(tensorflow::DEVICE_CPU), ReadPartsOp);
REGISTER_KERNEL_BUILDER(Name("AutodistWriteParts").Device(tensorflow::DEVICE_CPU), WritePartsOp);

}  // namespace
}  // namespace autodist
