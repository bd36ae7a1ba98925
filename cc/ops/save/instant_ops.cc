// The ops with which several tasks take their variables at one instant. docs/design/snapshots.md,
// "Several servers", says how they agree on it.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "barrier/coordinator.h"
#include "barrier/participant.h"
#include "barrier/taken_instants.h"
#include "ops/kernel_inputs.h"
#include "ops/listeners.h"
#include "ops/save/referenced_variables.h"
#include "ops/task_op.h"
#include "sessions/joint_instant.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/variant.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

REGISTER_OP("AutodistListenForInstant")
    .Output("listener: variant")
    .Output("hosts: string")
    .Output("port: int64")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->Scalar());
      context->set_output(1, context->Vector(context->UnknownDim()));
      context->set_output(2, context->Scalar());
      return absl::OkStatus();
    })
    .Doc(R"doc(
Listens on a free TCP port for the tasks that take their variables at one instant. The port closes
when the run has ended.

listener: A scalar. It has a meaning only within the process.
hosts: The IPv4 addresses of this machine.
port: Scalar.
)doc");

REGISTER_OP("AutodistLeadInstant")
    .Input("listener: variant")
    .Input("token: string")
    .Input("lease_ms: int64")
    .Input("deadline_ms: int64")
    .Input("most_rounds: int64")
    .Output("round: int64")
    .Output("seconds: double")
    .Attr("participants: list(string) >= 1")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->Scalar());
      context->set_output(1, context->Vector(2));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Tells all tasks of a save when to take their variables.

listener: From AutodistListenForInstant on the same task.
token: Scalar. 32 random bytes of this save.
lease_ms: Scalar. How long a task may hold its locks while it waits for the others.
deadline_ms: Scalar. How long all rounds together may take.
most_rounds: Scalar. How often the tasks try.
participants: The tasks of the AutodistJoinInstant ops of the run, by their numbers.
round: The round in which all tasks took their variables; the first is 0.
seconds: Two durations: until all tasks had locked, and then until all had taken their variables.
)doc");

REGISTER_OP("AutodistJoinInstant")
    .Input("pins: num_pins * variant")
    .Input("hosts: string")
    .Input("port: int64")
    .Input("token: string")
    .Input("lease_ms: int64")
    .Input("deadline_ms: int64")
    .Input("methods: string")
    .Input("memory_bytes: int64")
    .Input("spill_directory: string")
    .Output("references: variant")
    .Output("round: int64")
    .Output("method: string")
    .Output("refused: string")
    .Output("lock_seconds: double")
    .Attr("num_pins: int >= 1")
    .Attr("number: int >= 0")
    .Attr("coordinator: string")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      for (int i = 0; i < context->num_outputs(); ++i) context->set_output(i, context->Scalar());
      return absl::OkStatus();
    })
    .Doc(R"doc(
Takes variables at the instant at which all other AutodistJoinInstant ops of the run take theirs.

pins: The variables, from AutodistPinVariables; one element per device of the process.
hosts: From AutodistListenForInstant, as is port.
token: As in AutodistLeadInstant, as are lease_ms and deadline_ms.
methods: The methods to try, one after the other: "pages", "fork", "copy".
memory_bytes: Scalar. The most memory for copies of pages, or for "copy".
spill_directory: Scalar. A directory for a file with more copies of pages, if this machine has it.
references: See AutodistReferenceVariables.
round: See AutodistLeadInstant.
method: The method that was used; empty if no variable is updated by rows.
refused: Which methods were not possible, and why.
lock_seconds: How long the locks were held.
number: Which participant this is.
coordinator: The task of AutodistLeadInstant, for messages.
)doc");

REGISTER_OP("AutodistAwaitInstant")
    .Input("token: string")
    .Input("most_ms: int64")
    .Output("is_taken: bool")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
Waits for an instant that another run takes.

token: As in AutodistLeadInstant, which is on the same task.
most_ms: Scalar. How long to wait.
is_taken: Whether all have taken their variables.
)doc");

REGISTER_OP("AutodistReadReferences")
    .Input("references: variant")
    .Output("values: dtypes")
    .Attr("dtypes: list(type) >= 1")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnknownShape)
    .Doc(R"doc(
Reads values that AutodistJoinInstant has taken, to be sent to another task.

references: From AutodistJoinInstant on the same task.
values: In the order of the pins.
)doc");

std::vector<std::string> StringsInput(OpKernelContext* context, int input) {
  const auto strings = context->input(input).flat<tstring>();
  return std::vector<std::string>(strings.data(), strings.data() + strings.size());
}

int64_t NumberInput(OpKernelContext* context, int input) {
  return context->input(input).flat<int64_t>()(0);
}

std::chrono::milliseconds MillisecondsInput(OpKernelContext* context, int input) {
  return std::chrono::milliseconds(NumberInput(context, input));
}

absl::string_view TextInput(OpKernelContext* context, int input) {
  return context->input(input).flat<tstring>()(0);
}

absl::StatusOr<BarrierToken> TokenInput(OpKernelContext* context, int input) {
  return BarrierToken::Of(TextInput(context, input));
}

class ListenForInstantOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    WithinMemory(context, [&] { Listen(context); });
  }

 private:
  static void Listen(OpKernelContext* context) {
    absl::StatusOr<Listener> listener = Listener::Open();
    OP_REQUIRES_OK(context, listener.status());
    SetVector<tstring>(context, 1, listener->hosts);
    SetScalar<int64_t>(context, 2, listener->port);
    SetListener(context, 0, SharedListener(*std::move(listener)));
  }
};

class LeadInstantOp : public TaskOp {
 public:
  explicit LeadInstantOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("participants", &participants_));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    const std::shared_ptr<const Listener> listener = ListenerInput(context, 0);
    if (listener == nullptr) {
      return absl::InvalidArgumentError("the listener is not from AutodistListenForInstant");
    }
    absl::StatusOr<BarrierToken> token = TokenInput(context, 1);
    if (!token.ok()) return token.status();
    CoordinatorOptions options;
    options.participants = participants_;
    options.lease = MillisecondsInput(context, 2);
    options.deadline = BarrierClock::now() + MillisecondsInput(context, 3);
    options.most_rounds = static_cast<int>(NumberInput(context, 4));
    absl::StatusOr<BarrierReport> report = Coordinate(*listener, options, *token, cancelled);
    if (!report.ok()) return OfLostTask(report.status());
    SetScalar<int64_t>(context, 0, report->round);
    SetVector<double>(context, 1, std::vector{report->locking_seconds, report->taking_seconds});
    TakenInstants::Get().Note(TextInput(context, 1));
    return absl::OkStatus();
  }

  std::vector<std::string> participants_;
};

class JoinInstantOp : public TaskOp {
 public:
  explicit JoinInstantOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_pins", &num_pins_));
    OP_REQUIRES_OK(context, context->GetAttr("number", &number_));
    OP_REQUIRES_OK(context, context->GetAttr("coordinator", &coordinator_));
  }

 private:
  // The inputs after the pins.
  enum Input { kHosts, kPort, kToken, kLease, kDeadline, kMethods, kMemory, kSpill };

  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    absl::StatusOr<std::vector<PinnedVariables>> pins = AllPinsInput(context, 0, num_pins_);
    if (!pins.ok()) return pins.status();
    absl::StatusOr<SavedVariables> saved = PinnedValues(*std::move(pins));
    if (!saved.ok()) return saved.status();
    absl::StatusOr<BarrierToken> token = TokenInput(context, num_pins_ + kToken);
    if (!token.ok()) return token.status();
    InstantOptions options;
    options.methods = ImageMethods(StringsInput(context, num_pins_ + kMethods));
    options.memory_bytes = NumberInput(context, num_pins_ + kMemory);
    options.spill_directory = StringsInput(context, num_pins_ + kSpill)[0];
    const absl::StatusOr<JointInstant> joint = TakeInstantTogether(
        &saved->values, options, Participant(context), *token,
        [&](size_t index) { return MissingValueError(*saved, index); }, cancelled);
    if (!joint.ok()) return OfLostTask(joint.status());
    const Instant& instant = joint->instant;
    SetScalar<int64_t>(context, 1, joint->round);
    SetScalar<tstring>(context, 2, MethodsOf(instant));
    SetScalar<tstring>(context, 3, instant.refused);
    SetScalar<double>(context, 4, instant.lock_seconds);
    saved->lock_seconds = instant.lock_seconds;
    saved->instant = instant;
    Tensor references(tensorflow::DT_VARIANT, TensorShape({}));
    references.scalar<tensorflow::Variant>()() = ReferencedVariables(*std::move(saved));
    context->set_output(0, std::move(references));
    return absl::OkStatus();
  }

  ParticipantOptions Participant(OpKernelContext* context) const {
    ParticipantOptions options;
    options.hosts = StringsInput(context, num_pins_ + kHosts);
    options.port = static_cast<int>(NumberInput(context, num_pins_ + kPort));
    options.coordinator = coordinator_;
    options.number = number_;
    options.lease = MillisecondsInput(context, num_pins_ + kLease);
    options.deadline = BarrierClock::now() + MillisecondsInput(context, num_pins_ + kDeadline);
    return options;
  }

  int num_pins_;
  int number_;
  std::string coordinator_;
};

class AwaitInstantOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    const auto until = BarrierClock::now() + MillisecondsInput(context, 1);
    const bool is_taken = TakenInstants::Get().Await(TextInput(context, 0), until, cancelled);
    SetScalar<bool>(context, 0, is_taken);
    return absl::OkStatus();
  }
};

class ReadReferencesOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    absl::StatusOr<SavedVariables> saved = VariablesInput(context, 0, 1);
    if (!saved.ok()) return saved.status();
    if (static_cast<int>(saved->values.size()) != context->num_outputs()) {
      return absl::InvalidArgumentError(absl::StrCat("there are ", saved->values.size(),
                                                     " references, not ", context->num_outputs()));
    }
    for (int i = 0; i < context->num_outputs(); ++i) {
      absl::Status status = SetValue(context, i, saved->values[i]);
      if (!status.ok()) return status;
    }
    const bool has_image = saved->instant && saved->instant->image != nullptr;
    return has_image ? saved->instant->image->Finish() : absl::OkStatus();
  }

  static absl::Status SetValue(OpKernelContext* context, int output, const SourceValue& value) {
    if (value.dtype != context->expected_output_dtype(output)) {
      return absl::FailedPreconditionError(
          absl::StrCat("a variable is of ", tensorflow::DataTypeString(value.dtype), ", not of ",
                       tensorflow::DataTypeString(context->expected_output_dtype(output))));
    }
    if (value.image == nullptr) {
      context->set_output(output, value.tensor);
      return absl::OkStatus();
    }
    Tensor* read;
    TF_RETURN_IF_ERROR(context->allocate_output(output, value.shape, &read));
    const absl::string_view from = value.tensor.tensor_data();
    if (from.empty()) return absl::OkStatus();
    return value.image->Read(from.data(), static_cast<int64_t>(from.size()),
                             const_cast<char*>(read->tensor_data().data()));
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistListenForInstant").Device(tensorflow::DEVICE_CPU),
                        ListenForInstantOp);
REGISTER_KERNEL_BUILDER(Name("AutodistLeadInstant").Device(tensorflow::DEVICE_CPU), LeadInstantOp);
REGISTER_KERNEL_BUILDER(Name("AutodistJoinInstant").Device(tensorflow::DEVICE_CPU), JoinInstantOp);
REGISTER_KERNEL_BUILDER(Name("AutodistAwaitInstant").Device(tensorflow::DEVICE_CPU),
                        AwaitInstantOp);
REGISTER_KERNEL_BUILDER(Name("AutodistReadReferences").Device(tensorflow::DEVICE_CPU),
                        ReadReferencesOp);

}  // namespace
}  // namespace autodist
