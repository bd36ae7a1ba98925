// The ops of a restore of several tasks.
//
//   chief          every task           every task       every task
//   OpenRestore -> HoldRestore      ->  SumRanges    ->  PublishRestore
//   reads the      looks variables up,  FillRanges
//   index          and whether it sees
//                  the files
//
// To a task that does not see the files ReadRanges, on the chief, sends what it takes. DropRestore
// ends a restore on a task, at any time. All their names begin with Autodist; the client runs them
// in a graph of its own.

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "bundle/bundle_names.h"
#include "bundle/bundle_reader.h"
#include "bundle/file_ranges.h"
#include "ops/held_restores.h"
#include "ops/kernel_inputs.h"
#include "ops/save_task.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;
using tensorflow::shape_inference::InferenceContext;

absl::Status VectorShape(InferenceContext* context) {
  for (int i = 0; i < context->num_outputs(); ++i) {
    context->set_output(i, context->Vector(context->UnknownDim()));
  }
  return absl::OkStatus();
}

absl::Status UnknownShapes(InferenceContext* context) {
  for (int i = 0; i < context->num_outputs(); ++i) context->set_output(i, context->UnknownShape());
  return absl::OkStatus();
}

REGISTER_OP("AutodistOpenRestore")
    .Input("restore_id: string")
    .Input("prefix: string")
    .Input("lease_seconds: int64")
    .Output("fingerprint: int64")
    .Output("keys: string")
    .Output("rows: string")
    .SetIsStateful()
    .SetShapeFn(UnknownShapes)
    .Doc(R"doc(
Begins a restore of several tasks on the chief: reads the index.

restore_id: A name for the restore that no other has.
prefix: Scalar. The prefix of the checkpoint.
lease_seconds: Scalar. For how long a task holds the restore without hearing of it.
fingerprint: The CRC of the index file.
keys: The keys of the index, the header's first.
rows: For each key its value.
)doc");

REGISTER_OP("AutodistHoldRestore")
    .Input("restore_id: string")
    .Input("prefix: string")
    .Input("fingerprint: int64")
    .Input("lease_seconds: int64")
    .Input("keys: string")
    .Input("rows: string")
    .Input("names: string")
    .Input("shape_and_slices: string")
    .Input("pins: num_pins * variant")
    .Output("reaches: bool")
    .Output("live: bool")
    .Output("unfit: string")
    .Attr("num_pins: int >= 0")
    .Attr("dtypes: list(type)")
    .Attr("shapes: list(shape)")
    .Attr("validate_shapes: list(bool)")
    .SetIsStateful()
    .SetShapeFn(UnknownShapes)
    .Doc(R"doc(
Holds what a task has to a restore of several tasks.

restore_id: As in AutodistOpenRestore.
prefix: The prefix of the checkpoint; empty if this task is not to read it.
fingerprint: The CRC of the index file that the chief reads.
lease_seconds: As in AutodistOpenRestore.
keys: The keys of the index that this task needs, the header's first.
rows: For each key its value.
names: For each variable of `pins`, and for each of the tensors that follow them, what it is in the checkpoint.
shape_and_slices: For each the slice of that, as in RestoreV2.
pins: Variables, from AutodistPinVariables; they need not be initialized.
reaches: Whether this task reads the same index under `prefix`, and can open the data files that it needs.
live: For each whether it has a value of the type and shape that is restored.
unfit: What is wrong with those that cannot take what is restored.
dtypes: The dtype of each.
shapes: The static shape of each in the graph.
validate_shapes: Whether each must keep its shape if it is initialized.
)doc");

REGISTER_OP("AutodistSumRanges")
    .Input("restore_id: string")
    .Input("ranges: int64")
    .Output("crcs: int64")
    .Attr("threads: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn(VectorShape)
    .Doc(R"doc(
Sums bytes of a checkpoint.

restore_id: As in AutodistOpenRestore.
ranges: For each range the number of its data file, its offset there and its size.
crcs: The CRC of each, unmasked.
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
ranges: For each range the number of its entry among the `rows` of AutodistHoldRestore, without the header, and its
  first byte and the one past its last.
buffers: The bytes, from AutodistReadRanges; none: this task reads them.
crcs: The CRC of each range, unmasked.
live: Whether the targets are those that have a value, which they lose until it is published, or the others.
threads: As in AutodistSumRanges.
)doc");

REGISTER_OP("AutodistPublishRestore")
    .Input("restore_id: string")
    .Output("tensors: dtypes")
    .Attr("dtypes: list(type) >= 0")
    .SetIsStateful()
    .SetShapeFn(UnknownShapes)
    .Doc(R"doc(
Makes what was restored on a task the values of its variables. The restore is held on.

restore_id: As in AutodistOpenRestore.
tensors: What was restored beside variables.
)doc");

REGISTER_OP("AutodistDropRestore")
    .Input("restore_id: string")
    .Attr("withdraw: bool")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
Ends a restore on a task, if it is held there.

restore_id: As in AutodistOpenRestore.
withdraw: Whether the variables that it has published lose their values.
)doc");

// An op whose work is done on a thread of its own.
class RestoreTaskOp : public tensorflow::AsyncOpKernel {
 public:
  explicit RestoreTaskOp(tensorflow::OpKernelConstruction* context) : AsyncOpKernel(context) {
    if (context->HasAttr("threads"))
      OP_REQUIRES_OK(context, context->GetAttr("threads", &threads_));
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    RunOnOwnThread(
        context,
        [this, context](const std::atomic<bool>& cancelled) { return Work(context, cancelled); },
        std::move(done));
  }

 protected:
  virtual absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) = 0;

  static absl::Status SetSums(OpKernelContext* context, const std::vector<uint32_t>& sums) {
    Tensor* output;
    TF_RETURN_IF_ERROR(
        context->allocate_output(0, TensorShape({static_cast<int64_t>(sums.size())}), &output));
    std::copy(sums.begin(), sums.end(), output->flat<int64_t>().data());
    return absl::OkStatus();
  }

  int threads_ = 0;
};

template <typename Element, typename Values>
Tensor VectorOf(tensorflow::DataType dtype, const Values& values) {
  Tensor tensor(dtype, TensorShape({static_cast<int64_t>(values.size())}));
  std::copy(values.begin(), values.end(), tensor.flat<Element>().data());
  return tensor;
}

absl::StatusOr<int64_t> Fingerprint(const std::string& prefix) {
  std::string contents;
  const absl::Status status =
      tensorflow::ReadFileToString(tensorflow::Env::Default(), IndexName(prefix), &contents);
  if (!status.ok()) return status;
  return static_cast<uint32_t>(absl::ComputeCrc32c(contents));
}

class OpenRestoreOp : public RestoreTaskOp {
 public:
  using RestoreTaskOp::RestoreTaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    absl::StatusOr<std::string> prefix = PrefixInput(context->input(1));
    if (!prefix.ok()) return prefix.status();
    absl::StatusOr<int64_t> fingerprint = Fingerprint(*prefix);
    if (!fingerprint.ok()) return fingerprint.status();
    IndexRows rows;
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(*prefix, &rows);
    if (!index.ok()) return index.status();
    auto restore = std::make_shared<HeldRestore>(LeaseInput(context, 2));
    restore->SetFiles(*prefix, index->shard_count);
    absl::Status status = HeldRestores::Get().Add(SaveIdInput(context), std::move(restore));
    if (!status.ok()) return status;
    std::vector<std::string> keys, values;
    for (auto& [key, value] : rows) {
      keys.push_back(std::move(key));
      values.push_back(std::move(value));
    }
    Tensor print(tensorflow::DT_INT64, TensorShape({}));
    print.scalar<int64_t>()() = *fingerprint;
    context->set_output(0, print);
    context->set_output(1, VectorOf<tstring>(tensorflow::DT_STRING, keys));
    context->set_output(2, VectorOf<tstring>(tensorflow::DT_STRING, values));
    return absl::OkStatus();
  }
};

class HoldRestoreOp : public RestoreTaskOp {
 public:
  explicit HoldRestoreOp(tensorflow::OpKernelConstruction* context) : RestoreTaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_pins", &num_pins_));
    OP_REQUIRES_OK(context, context->GetAttr("dtypes", &dtypes_));
    OP_REQUIRES_OK(context, context->GetAttr("shapes", &shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("validate_shapes", &validate_shapes_));
    OP_REQUIRES(context,
                shapes_.size() == dtypes_.size() && validate_shapes_.size() == dtypes_.size(),
                absl::InvalidArgumentError("dtypes, shapes and validate_shapes differ in length"));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    const std::string id = SaveIdInput(context);
    const std::string prefix(context->input(1).flat<tstring>()(0));
    absl::StatusOr<BundleIndex> index = Index(context);
    if (!index.ok()) return index.status();
    std::shared_ptr<HeldRestore> restore = HeldRestores::Get().FindOrNull(id);
    const bool is_chief = restore != nullptr;
    if (!is_chief) {
      restore = std::make_shared<HeldRestore>(LeaseInput(context, 3));
      const int64_t fingerprint = context->input(2).flat<int64_t>()(0);
      if (!prefix.empty() && Fingerprint(prefix).value_or(-1) == fingerprint) {
        restore->SetFiles(prefix, index->shard_count);
      }
    }
    absl::StatusOr<std::vector<std::string>> unfit =
        SetTargets(context, *std::move(index), restore.get());
    if (!unfit.ok()) return unfit.status();
    Tensor reaches(tensorflow::DT_BOOL, TensorShape({}));
    // The chief's own errors come when it reads.
    reaches.scalar<bool>()() = restore->OpenFiles() || is_chief;
    if (!is_chief) {
      absl::Status status = HeldRestores::Get().Add(id, restore);
      if (!status.ok()) return status;
    }
    context->set_output(0, reaches);
    context->set_output(1, VectorOf<bool>(tensorflow::DT_BOOL, restore->live()));
    context->set_output(2, VectorOf<tstring>(tensorflow::DT_STRING, *unfit));
    return absl::OkStatus();
  }

  static absl::StatusOr<BundleIndex> Index(OpKernelContext* context) {
    const size_t count = context->input(4).NumElements();
    auto keys = StringVector(context->input(4), "keys", count);
    if (!keys.ok()) return keys.status();
    auto values = StringVector(context->input(5), "rows", count);
    if (!values.ok()) return values.status();
    IndexRows rows;
    for (size_t i = 0; i < count; ++i) rows.emplace_back((*keys)[i], (*values)[i]);
    return ParseBundleIndex(rows);
  }

  absl::StatusOr<std::vector<std::string>> SetTargets(OpKernelContext* context, BundleIndex index,
                                                      HeldRestore* restore) const {
    auto names = StringVector(context->input(6), "names", dtypes_.size());
    if (!names.ok()) return names.status();
    auto slices = StringVector(context->input(7), "shape_and_slices", dtypes_.size());
    if (!slices.ok()) return slices.status();
    std::vector<PinnedVariables> kept;
    std::vector<Destination> destinations;
    for (int i = 0; i < num_pins_; ++i) {
      absl::StatusOr<const PinnedVariables*> pins = PinsInput(context, kFixedInputs + i);
      if (!pins.ok()) return pins.status();
      kept.push_back(**pins);
      for (const PinnedVariable& pinned : (*pins)->variables()) {
        destinations.push_back({&pinned, {}, false});
      }
    }
    if (destinations.size() > dtypes_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(destinations.size(), " variables but ", dtypes_.size(), " dtypes"));
    }
    destinations.resize(dtypes_.size());
    std::vector<RestoreEntry> entries;
    for (size_t i = 0; i < dtypes_.size(); ++i) {
      destinations[i].shape = shapes_[i];
      destinations[i].validate_shape = validate_shapes_[i];
      entries.push_back({(*names)[i], (*slices)[i], dtypes_[i], static_cast<int>(i), 1});
    }
    return restore->SetTargets(std::move(index), entries, std::move(destinations), std::move(kept));
  }

  // restore_id, prefix, fingerprint, lease_seconds, keys, rows, names, shape_and_slices
  static constexpr int kFixedInputs = 8;

  int num_pins_;
  tensorflow::DataTypeVector dtypes_;
  std::vector<tensorflow::PartialTensorShape> shapes_;
  std::vector<bool> validate_shapes_;
};

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

class SumRangesOp : public RestoreTaskOp {
 public:
  using RestoreTaskOp::RestoreTaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    auto restore = HeldRestores::Get().Find(SaveIdInput(context));
    if (!restore.ok()) return restore.status();
    DataFiles files((*restore)->prefix(), (*restore)->shard_count());
    auto ranges = FileRangesInput(context, &files, (*restore)->shard_count());
    if (!ranges.ok()) return ranges.status();
    absl::StatusOr<std::vector<uint32_t>> sums =
        ReadRanges(files, *ranges, nullptr, threads_, &cancelled);
    if (!sums.ok()) return sums.status();
    (*restore)->Touch();
    return SetSums(context, *sums);
  }
};

class ReadRangesOp : public RestoreTaskOp {
 public:
  using RestoreTaskOp::RestoreTaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    auto restore = HeldRestores::Get().Find(SaveIdInput(context));
    if (!restore.ok()) return restore.status();
    DataFiles files((*restore)->prefix(), (*restore)->shard_count());
    auto ranges = FileRangesInput(context, &files, (*restore)->shard_count());
    if (!ranges.ok()) return ranges.status();
    int64_t size_bytes = 0;
    for (const FileRange& range : *ranges) size_bytes += range.size_bytes;
    Tensor* bytes;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({size_bytes}), &bytes));
    char* out = reinterpret_cast<char*>(bytes->flat<uint8_t>().data());
    return ReadRanges(files, *ranges, out, threads_, &cancelled).status();
  }
};

class FillRangesOp : public RestoreTaskOp {
 public:
  explicit FillRangesOp(tensorflow::OpKernelConstruction* context) : RestoreTaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("live", &live_));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    auto restore = HeldRestores::Get().Find(SaveIdInput(context));
    if (!restore.ok()) return restore.status();
    absl::StatusOr<std::vector<int64_t>> numbers = RangeNumbers(context);
    if (!numbers.ok()) return numbers.status();
    std::vector<HeldRestore::Range> ranges;
    for (size_t i = 0; i < numbers->size(); i += kRangeNumbers) {
      ranges.push_back({(*numbers)[i], (*numbers)[i + 1], (*numbers)[i + 2]});
    }
    absl::string_view bytes;
    if (context->num_inputs() > kFixedInputs) bytes = context->input(kFixedInputs).tensor_data();
    absl::StatusOr<std::vector<uint32_t>> sums =
        (*restore)->Fill(live_, ranges, bytes, threads_, &cancelled);
    if (!sums.ok()) return sums.status();
    (*restore)->Touch();
    return SetSums(context, *sums);
  }

  static constexpr int kFixedInputs = 2;  // restore_id, ranges

  bool live_;
};

class PublishRestoreOp : public RestoreTaskOp {
 public:
  using RestoreTaskOp::RestoreTaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    auto restore = HeldRestores::Get().Find(SaveIdInput(context));
    if (!restore.ok()) return restore.status();
    const absl::Status status = (*restore)->Publish();
    if (!status.ok()) return status;
    const int first = static_cast<int>((*restore)->live().size()) - context->num_outputs();
    if (first < 0) return absl::InvalidArgumentError("more tensors than were restored");
    for (int i = 0; i < context->num_outputs(); ++i) {
      context->set_output(i, (*restore)->tensor(first + i));
    }
    return absl::OkStatus();
  }
};

class DropRestoreOp : public RestoreTaskOp {
 public:
  explicit DropRestoreOp(tensorflow::OpKernelConstruction* context) : RestoreTaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("withdraw", &withdraw_));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    const std::shared_ptr<HeldRestore> restore = HeldRestores::Get().End(SaveIdInput(context));
    if (restore != nullptr) restore->Drop(withdraw_);
    return absl::OkStatus();
  }

  bool withdraw_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistOpenRestore").Device(tensorflow::DEVICE_CPU), OpenRestoreOp);
REGISTER_KERNEL_BUILDER(Name("AutodistHoldRestore").Device(tensorflow::DEVICE_CPU), HoldRestoreOp);
REGISTER_KERNEL_BUILDER(Name("AutodistSumRanges").Device(tensorflow::DEVICE_CPU), SumRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistReadRanges").Device(tensorflow::DEVICE_CPU), ReadRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistFillRanges").Device(tensorflow::DEVICE_CPU), FillRangesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistPublishRestore").Device(tensorflow::DEVICE_CPU),
                        PublishRestoreOp);
REGISTER_KERNEL_BUILDER(Name("AutodistDropRestore").Device(tensorflow::DEVICE_CPU), DropRestoreOp);

}  // namespace
}  // namespace autodist
