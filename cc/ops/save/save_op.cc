// AutodistSave: shards and replicas of variables, read in place, into one checkpoint of whole
// variables.

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ops/kernel_inputs.h"
#include "ops/save/referenced_variables.h"
#include "ops/task_op.h"
#include "save/bundle_writer.h"
#include "save/plan/save_plan.h"
#include "sessions/report_slots.h"
#include "sessions/variable_sources.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status SaveShape(InferenceContext* context) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 0, &unused));
  ShapeHandle entries;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(1), 1, &entries));
  TF_RETURN_IF_ERROR(context->Merge(entries, context->input(2), &entries));
  TF_RETURN_IF_ERROR(context->Merge(entries, context->input(3), &entries));
  int num_pins;
  TF_RETURN_IF_ERROR(context->GetAttr("num_pins", &num_pins));
  for (int i = 0; i < num_pins; ++i) {
    TF_RETURN_IF_ERROR(context->WithRank(context->input(4 + i), 0, &unused));
  }
  return absl::OkStatus();
}

REGISTER_OP("AutodistSave")
    .Input("prefix: string")
    .Input("tensor_names: string")
    .Input("shape_and_slices: string")
    .Input("aggregations: string")
    .Input("pins: num_pins * variant")
    .Input("tensors: tensor_types")
    .Attr("num_pins: int >= 0")
    .Attr("tensor_types: list(type) >= 0")
    .Attr("value_index: list(int)")
    .Attr("layout: {'original', 'slices', 'restorable'} = 'original'")
    .Attr("lock: {'block', 'copy'} = 'block'")
    .Attr("threads: int >= 0 = 0")
    .Attr("durable: bool = true")
    .Attr("figures_file: bool = false")
    .SetIsStateful()
    .SetShapeFn(SaveShape)
    .Doc(R"doc(
Saves logical variables, held in shards and replicas, in the V2 checkpoint format.

Entries with the same name and different slices are shards of one logical variable. Entries with the
same name and the same slice are replicas, which the aggregation makes one value. The files are
those that SaveV2 writes for the whole variables.

prefix: Scalar. The prefix of the checkpoint.
tensor_names: The name of each entry.
shape_and_slices: The full shape and slice of each entry as in SaveV2; empty where the entry is the
whole.
aggregations: 'MEAN', 'SUM' or 'ONLY_FIRST_REPLICA' for each entry, the same for all entries of a
name.
pins: Variables to read in place, from AutodistPinVariables; or, one input, from
AutodistReferenceVariables.
tensors: Values that are not variables read in place.
value_index: For each entry the number of its value in the list made of the variables of `pins`
  followed by `tensors`.
layout: 'original' writes every variable whole, 'slices' writes the entries as SaveV2 would,
  'restorable' writes as slices only what stock RestoreV2 cannot cut into slices.
lock: How a variable that is updated in place is kept from changing while it is read. 'block': it is
  locked until it is written. 'copy': it is locked until it is copied.
threads: How many threads write; 0 lets the machine decide.
durable: Whether the files are on the device when the op is done; else only the order of the steps
is kept.
figures_file: Whether to write the figures of all tensors to a file, the prefix and '.figures', as
cc/save/data/tensor_figures.h has them.
)doc");

// All that a save needs, unpacked from the inputs of the op.
struct SaveRequest {
  std::string prefix;
  SavedVariables variables;
  std::vector<SourceValue> values;  // of the variables, then of the tensors
  int variable_count = 0;
  std::vector<SaveEntry> entries;
};

class SaveOp : public TaskOp {
 public:
  explicit SaveOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    std::string layout, lock;
    OP_REQUIRES_OK(context, context->GetAttr("num_pins", &num_pins_));
    OP_REQUIRES_OK(context, context->GetAttr("value_index", &value_index_));
    OP_REQUIRES_OK(context, context->GetAttr("durable", &durable_));
    OP_REQUIRES_OK(context, context->GetAttr("lock", &lock));
    OP_REQUIRES_OK(context, context->GetAttr("layout", &layout));
    OP_REQUIRES_OK(context, context->GetAttr("figures_file", &has_figures_file_));
    lock_mode_ = lock == "copy" ? LockMode::kCopy : LockMode::kBlock;
    absl::StatusOr<SaveLayout> parsed = ParseSaveLayout(layout);
    OP_REQUIRES_OK(context, parsed.status());
    layout_ = *parsed;
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    const auto start = SlotUse::Clock::now();
    absl::StatusOr<SaveRequest> request = Unpack(context);
    if (!request.ok()) return request.status();
    SlotUse slot(ReportSlot::Kind::kSave, request->prefix, context->step_id(), start);
    slot.NoteTaken();
    absl::StatusOr<SavePlan> plan = BuildSavePlan(request->entries, layout_);
    if (!plan.ok()) return plan.status();
    const std::optional<Instant>& instant = request->variables.instant;
    VariableSources sources(std::move(request->values), lock_mode_, request->variables.lock_seconds,
                            instant ? instant->image : nullptr);
    // Whoever closes a session does not mean a save that has all it needs.
    const std::atomic<bool>* const stop = slot.outlives_session() ? nullptr : &cancelled;
    Report report;
    std::string* const figures =
        slot.wants_figures() || has_figures_file_ ? &report.figures : nullptr;
    absl::StatusOr<int64_t> written_bytes = WriteBundle(
        request->prefix, *plan, &sources, {threads_, durable_, stop, slot.progress(), figures});
    if (!written_bytes.ok()) return written_bytes.status();
    if (has_figures_file_) {
      TF_RETURN_IF_ERROR(tensorflow::WriteStringToFile(
          context->env(), absl::StrCat(request->prefix, ".figures"), report.figures));
    }
    report.bytes = *written_bytes;
    report.max_lock_seconds = sources.max_lock_seconds();
    report.variable_count = plan->variable_count;
    report.shard_count = plan->shard_count;
    report.value_count = plan->replica_count;
    if (instant) {
      report.instant_method = MethodsOf(*instant);
      if (report.instant_method.empty()) report.instant_method = "references";
      report.refused_methods = instant->refused;
      report.other_values = NamesAfter(request->entries, request->variable_count);
    }
    slot.Add(report);
    return absl::OkStatus();
  }

  // The names of up to ten entries whose values come after the first `count`.
  static std::string NamesAfter(const std::vector<SaveEntry>& entries, int count) {
    constexpr size_t kMostNames = 10;
    std::vector<std::string> names;
    for (const SaveEntry& entry : entries) {
      if (entry.source < count) continue;
      if (names.size() == kMostNames) {
        names.push_back("...");
        break;
      }
      names.push_back(entry.name);
    }
    return absl::StrJoin(names, ", ");
  }

  absl::StatusOr<SaveRequest> Unpack(OpKernelContext* context) const {
    SaveRequest request;
    absl::Status status = UnpackValues(context, &request);
    absl::StatusOr<std::string> prefix = PrefixInput(context->input(0));
    if (status.ok()) status = prefix.status();
    if (prefix.ok()) request.prefix = *std::move(prefix);
    if (status.ok()) status = UnpackEntries(context, &request);
    if (!status.ok()) return status;
    return request;
  }

  absl::Status UnpackValues(OpKernelContext* context, SaveRequest* request) const {
    // First of all: whatever else there is to do, training goes on meanwhile.
    absl::StatusOr<SavedVariables> variables = VariablesInput(context, kFixedInputs, num_pins_);
    if (!variables.ok()) return variables.status();
    request->variables = *std::move(variables);
    request->values = std::move(request->variables.values);
    request->variable_count = static_cast<int>(request->values.size());
    for (int i = kFixedInputs + num_pins_; i < context->num_inputs(); ++i) {
      const Tensor& input = context->input(i);
      if (!input.IsInitialized()) {
        return absl::FailedPreconditionError(
            absl::StrCat("input ", i, " of ", name(), " is not initialized"));
      }
      request->values.push_back(TensorValue(input));
    }
    return absl::OkStatus();
  }

  absl::Status UnpackEntries(OpKernelContext* context, SaveRequest* request) const {
    const size_t count = value_index_.size();
    auto names = StringVector(context->input(1), "tensor_names", count);
    if (!names.ok()) return names.status();
    auto slices = StringVector(context->input(2), "shape_and_slices", count);
    if (!slices.ok()) return slices.status();
    auto aggregations = StringVector(context->input(3), "aggregations", count);
    if (!aggregations.ok()) return aggregations.status();
    request->entries.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const int64_t source = value_index_[i];
      if (source < 0 || source >= static_cast<int64_t>(request->values.size())) {
        return absl::InvalidArgumentError(
            absl::StrCat("variable '", std::string((*names)[i]), "': value_index ", source,
                         " is outside the ", request->values.size(), " values"));
      }
      const SourceValue& value = request->values[source];
      request->entries.push_back({(*names)[i], (*slices)[i], (*aggregations)[i],
                                  static_cast<int>(source), value.dtype, value.shape});
    }
    return absl::OkStatus();
  }

  static constexpr int kFixedInputs = 4;  // prefix, tensor_names, shape_and_slices, aggregations

  int num_pins_;
  std::vector<int64_t> value_index_;
  bool durable_;
  bool has_figures_file_;
  LockMode lock_mode_;
  SaveLayout layout_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistSave").Device(tensorflow::DEVICE_CPU), SaveOp);

}  // namespace
}  // namespace autodist
