// The ops of a restore of several tasks that begin and end it. Those that read bytes:
// restore_range_ops.cc.
//
//   chief          every task           every task       every task
//   OpenRestore -> JoinRestore      ->  SumRanges    ->  PublishRestore
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
#include "format/index/bundle_names.h"
#include "format/reader/bundle_reader.h"
#include "ops/kernel_inputs.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "restore/restore_part.h"
#include "sessions/restore_session.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::tstring;
using tensorflow::shape_inference::InferenceContext;

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
lease_seconds: Scalar. How long a task keeps the restore of a client that is silent.
fingerprint: The CRC of the index file.
keys: The keys of the index, the header's first.
rows: For each key its value.
)doc");

REGISTER_OP("AutodistJoinRestore")
    .Input("restore_id: string")
    .Input("prefix: string")
    .Input("fingerprint: int64")
    .Input("lease_seconds: int64")
    .Input("part: int64")
    .Input("names: string")
    .Input("swap: bool")
    .Input("pins: num_pins * variant")
    .Output("can_open: bool")
    .Output("live: bool")
    .Output("unfit: string")
    .Attr("num_pins: int >= 0")
    .Attr("shapes: list(shape)")
    .Attr("validate_shapes: list(bool)")
    .SetIsStateful()
    .SetShapeFn(UnknownShapes)
    .Doc(R"doc(
Joins a task to a restore of several tasks: looks up its variables and opens its files.

restore_id: As in AutodistOpenRestore.
prefix: The prefix of the checkpoint; empty if this task is not to read it.
fingerprint: The CRC of the index file that the chief reads.
lease_seconds: As in AutodistOpenRestore.
part: What of the checkpoint goes to the variables of `pins`, and to the tensors that follow them.
names: The names in the checkpoint of what `part` takes.
swap: Scalar. Whether variables with values get new memory, which replaces theirs when all is
published. They are live where this task has too little memory for that.
pins: Variables, from AutodistPinVariables; they need not be initialized.
can_open: Whether this task reads the same index under `prefix`, and can open the data files that it
needs.
live: For each variable and tensor whether it has a value of the type and shape that is restored,
whose memory is written.
unfit: What is wrong with those that cannot take what is restored.
shapes: The static shape of each in the graph.
validate_shapes: Whether each must keep its shape if it is initialized.
)doc");

REGISTER_OP("AutodistPublishRestore")
    .Input("restore_id: string")
    .Output("tensors: dtypes")
    .Attr("dtypes: list(type) >= 0")
    .SetIsStateful()
    .SetShapeFn(UnknownShapes)
    .Doc(R"doc(
Makes what was restored on a task the values of its variables. The session stays.

restore_id: As in AutodistOpenRestore.
tensors: What was restored beside variables.
)doc");

REGISTER_OP("AutodistDropRestore")
    .Input("restore_id: string")
    .Attr("withdraw: bool")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
Ends a restore on a task, if there is one.

restore_id: As in AutodistOpenRestore.
withdraw: Whether the variables that it has published lose their values.
)doc");

absl::StatusOr<int64_t> Fingerprint(const std::string& prefix) {
  std::string contents;
  const absl::Status status =
      tensorflow::ReadFileToString(tensorflow::Env::Default(), IndexName(prefix), &contents);
  if (!status.ok()) return status;
  return static_cast<uint32_t>(absl::ComputeCrc32c(contents));
}

class OpenRestoreOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    absl::StatusOr<std::string> prefix = PrefixInput(context->input(1));
    if (!prefix.ok()) return prefix.status();
    absl::StatusOr<int64_t> fingerprint = Fingerprint(*prefix);
    if (!fingerprint.ok()) return fingerprint.status();
    IndexRows rows;
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(*prefix, &rows);
    if (!index.ok()) return index.status();
    auto restore = std::make_shared<RestoreSession>(LeaseInput(context, 2));
    restore->SetFiles(*prefix, index->shard_count);
    absl::Status status = RestoreSessions::Get().Add(SaveIdInput(context), std::move(restore));
    if (!status.ok()) return status;
    std::vector<std::string> keys, values;
    for (auto& [key, value] : rows) {
      keys.push_back(std::move(key));
      values.push_back(std::move(value));
    }
    SetScalar<int64_t>(context, 0, *fingerprint);
    SetVector<tstring>(context, 1, keys);
    SetVector<tstring>(context, 2, values);
    return absl::OkStatus();
  }
};

class JoinRestoreOp : public TaskOp {
 public:
  explicit JoinRestoreOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_pins", &num_pins_));
    OP_REQUIRES_OK(context, context->GetAttr("shapes", &shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("validate_shapes", &validate_shapes_));
    OP_REQUIRES(context, shapes_.size() == validate_shapes_.size(),
                absl::InvalidArgumentError("shapes and validate_shapes differ in length"));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    const std::string id = SaveIdInput(context);
    const std::string prefix(context->input(1).flat<tstring>()(0));
    auto names = StringVector(context->input(5), "names", context->input(5).NumElements());
    if (!names.ok()) return names.status();
    absl::StatusOr<RestorePart> part = DecodePart(
        NumbersInput(context, 4), {names->begin(), names->end()}, static_cast<int>(shapes_.size()));
    if (!part.ok()) return part.status();
    std::shared_ptr<RestoreSession> restore = RestoreSessions::Get().FindOrNull(id);
    const bool is_chief = restore != nullptr;
    if (!is_chief) {
      restore = std::make_shared<RestoreSession>(LeaseInput(context, 3));
      const int64_t fingerprint = context->input(2).flat<int64_t>()(0);
      if (!prefix.empty() && Fingerprint(prefix).value_or(-1) == fingerprint) {
        restore->SetFiles(prefix, part->index.shard_count);
      }
    }
    absl::StatusOr<std::vector<std::string>> unfit =
        SetTargets(context, *std::move(part), restore.get());
    if (!unfit.ok()) return unfit.status();
    // The chief's own errors come when it reads.
    const bool can_open = restore->OpenFiles() || is_chief;
    if (!is_chief) {
      absl::Status status = RestoreSessions::Get().Add(id, restore);
      if (!status.ok()) return status;
    }
    SetScalar<bool>(context, 0, can_open);
    SetVector<bool>(context, 1, restore->live());
    SetVector<tstring>(context, 2, *unfit);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> SetTargets(OpKernelContext* context, RestorePart part,
                                                      RestoreSession* restore) const {
    std::vector<PinnedVariables> kept;
    std::vector<RestoreTarget> targets;
    for (int i = 0; i < num_pins_; ++i) {
      absl::StatusOr<const PinnedVariables*> pins = PinsInput(context, kFixedInputs + i);
      if (!pins.ok()) return pins.status();
      kept.push_back(**pins);
      for (const PinnedVariable& pinned : (*pins)->variables()) {
        targets.push_back({&pinned, {}, false});
      }
    }
    if (targets.size() > shapes_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(targets.size(), " variables but ", shapes_.size(), " shapes"));
    }
    targets.resize(shapes_.size());
    for (size_t i = 0; i < shapes_.size(); ++i) {
      targets[i].shape = shapes_[i];
      targets[i].validate_shape = validate_shapes_[i];
    }
    return restore->SetTargets(std::move(part), std::move(targets), std::move(kept),
                               context->input(6).flat<bool>()(0));
  }

  // restore_id, prefix, fingerprint, lease_seconds, part, names, swap
  static constexpr int kFixedInputs = 7;

  int num_pins_;
  std::vector<tensorflow::PartialTensorShape> shapes_;
  std::vector<bool> validate_shapes_;
};

class PublishRestoreOp : public SessionOp<RestoreSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(RestoreSession* restore, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const absl::Status status = restore->Publish();
    if (!status.ok()) return status;
    const int first = static_cast<int>(restore->live().size()) - context->num_outputs();
    if (first < 0) return absl::InvalidArgumentError("more tensors than were restored");
    for (int i = 0; i < context->num_outputs(); ++i) {
      context->set_output(i, restore->tensor(first + i));
    }
    return absl::OkStatus();
  }
};

class DropRestoreOp : public TaskOp {
 public:
  explicit DropRestoreOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("withdraw", &withdraw_));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    const std::shared_ptr<RestoreSession> restore =
        RestoreSessions::Get().End(SaveIdInput(context));
    if (restore != nullptr) restore->Drop(withdraw_);
    return absl::OkStatus();
  }

  bool withdraw_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistOpenRestore").Device(tensorflow::DEVICE_CPU), OpenRestoreOp);
REGISTER_KERNEL_BUILDER(Name("AutodistJoinRestore").Device(tensorflow::DEVICE_CPU), JoinRestoreOp);
REGISTER_KERNEL_BUILDER(Name("AutodistPublishRestore").Device(tensorflow::DEVICE_CPU),
                        PublishRestoreOp);
REGISTER_KERNEL_BUILDER(Name("AutodistDropRestore").Device(tensorflow::DEVICE_CPU), DropRestoreOp);

}  // namespace
}  // namespace autodist
