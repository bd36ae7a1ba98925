// AutodistRestore: a checkpoint, read once, into variables in place and into new tensors.

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "format/index/bundle_names.h"
#include "format/reader/bundle_reader.h"
#include "format/values/shape_and_slice.h"
#include "ops/kernel_inputs.h"
#include "ops/restore/stock_restore.h"
#include "ops/task_op.h"
#include "restore/bundle_loader.h"
#include "restore/restore_plan.h"
#include "restore/unique_lines.h"
#include "sessions/report_slots.h"
#include "sessions/variable_targets.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/tensor_util.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

using tensorflow::DataTypeVector;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// What the error of a restore adds that failed before it wrote to a variable.
constexpr absl::string_view kUnchanged = "The variables of this restore op keep their values.";

absl::Status RestoreShape(InferenceContext* context) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 0, &unused));
  ShapeHandle entries;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(1), 1, &entries));
  TF_RETURN_IF_ERROR(context->Merge(entries, context->input(2), &entries));
  for (int i = 3; i < context->num_inputs(); ++i) {
    TF_RETURN_IF_ERROR(context->WithRank(context->input(i), 0, &unused));
  }
  for (int i = 0; i < context->num_outputs(); ++i) {
    context->set_output(i, context->UnknownShape());
  }
  return absl::OkStatus();
}

REGISTER_OP("AutodistRestore")
    .Input("prefix: string")
    .Input("tensor_names: string")
    .Input("shape_and_slices: string")
    .Input("pins: num_pins * variant")
    .Output("tensors: tensor_types")
    .Attr("num_pins: int >= 0")
    .Attr("dtypes: list(type)")
    .Attr("tensor_types: list(type) >= 0")
    .Attr("variable_entries: list(int) >= 0")
    .Attr("variable_shapes: list(shape) >= 0")
    .Attr("validate_shapes: list(bool) >= 0")
    .Attr("tensor_entries: list(int) >= 0")
    .Attr("tensor_shapes: list(shape) >= 0")
    .Attr("verify: {'before', 'during', 'swap'} = 'before'")
    .Attr("threads: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn(RestoreShape)
    .Doc(R"doc(
Restores tensors, or slices of them, from a checkpoint into variables and new tensors.

Every stored byte is read once, or, where variables have values that must survive a damaged
checkpoint and are written in place, twice. Any slices are restored from any others, for all dtypes.

prefix: Scalar. The prefix of the checkpoint.
tensor_names: The name of each entry.
shape_and_slices: The full shape and slice of each entry as in RestoreV2; empty for the whole
tensor.
pins: Variables to write in place, from AutodistPinVariables; they need not be initialized.
tensors: The entries named by `tensor_entries`.
dtypes: The dtype of each entry.
variable_entries: For each variable of `pins` the number of the entry it takes. An entry may have
several variables. One that no variable and no output takes is not read.
variable_shapes: For each variable its static shape, which the entry must be compatible with.
validate_shapes: For each variable whether it must keep its shape if it is initialized.
tensor_entries: For each output the number of its entry.
tensor_shapes: For each output the static shape that the entry must be compatible with.
verify: When the checkpoint is checked. 'before': it is read in full before a variable that has a
  value is written, then read again. 'during': it is read once; a variable whose bytes turn out
  damaged is left uninitialized. 'swap': it is read once, into new memory, which replaces that of the
  variables when all of it was found right; 'before' where there is too little memory.
threads: How many threads read; 0 lets the machine decide.
)doc");

class RestoreOp : public TaskOp {
 public:
  explicit RestoreOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    std::string verify;
    OP_REQUIRES_OK(context, context->GetAttr("num_pins", &num_pins_));
    OP_REQUIRES_OK(context, context->GetAttr("dtypes", &dtypes_));
    OP_REQUIRES_OK(context, context->GetAttr("variable_entries", &variable_entries_));
    OP_REQUIRES_OK(context, context->GetAttr("variable_shapes", &variable_shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("validate_shapes", &validate_shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("tensor_entries", &tensor_entries_));
    OP_REQUIRES_OK(context, context->GetAttr("tensor_shapes", &tensor_shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("verify", &verify));
    verify_ = verify == "before" ? Verify::kBefore
              : verify == "swap" ? Verify::kSwap
                                 : Verify::kDuring;
    OP_REQUIRES(context,
                variable_shapes_.size() == variable_entries_.size() &&
                    validate_shapes_.size() == variable_entries_.size(),
                absl::InvalidArgumentError(
                    "variable_entries, variable_shapes and validate_shapes differ in length"));
    for (const std::vector<int64_t>& entries : {variable_entries_, tensor_entries_}) {
      for (int64_t entry : entries) {
        OP_REQUIRES(context, entry >= 0 && entry < static_cast<int64_t>(dtypes_.size()),
                    absl::InvalidArgumentError(
                        absl::StrCat("entry ", entry, " is outside the ", dtypes_.size())));
      }
    }
    OP_REQUIRES(context,
                static_cast<int>(tensor_entries_.size()) == context->num_outputs() &&
                    tensor_shapes_.size() == tensor_entries_.size(),
                absl::InvalidArgumentError(
                    "tensor_entries, tensor_shapes and tensor_types differ in length"));
  }

 private:
  // The variables of the entries: numbered entry by entry, variables before tensors.
  struct Request {
    std::vector<RestoreEntry> entries;
    std::vector<RestoreTarget> targets;
    std::vector<std::pair<int, int>> outputs;  // output, number of its target
    int64_t target_count = 0;
  };

  absl::Status Work(OpKernelContext* context, const std::atomic<bool>& cancelled) override {
    const auto start = SlotUse::Clock::now();
    absl::StatusOr<std::string> prefix = PrefixInput(context->input(0));
    if (!prefix.ok()) return prefix.status();
    SlotUse slot(ReportSlot::Kind::kRestore, *prefix, context->step_id(), start);
    absl::StatusOr<Request> request = Unpack(context);
    if (!request.ok()) return request.status();
    VariableTargets targets(std::move(request->targets));
    std::vector<int> all(request->entries.size());
    std::iota(all.begin(), all.end(), 0);
    Report report;
    const LoadOptions options{threads_, &cancelled, verify_, slot.progress()};
    absl::Status status = IsV1(*prefix)
                              ? LoadByStock(context, *request, all, &targets)
                              : Load(context, *prefix, *request, &targets, options, &report);
    if (!status.ok()) {
      return targets.has_touched_live()
                 ? status
                 : absl::Status(status.code(), absl::StrCat(status.message(), "\n", kUnchanged));
    }
    for (const auto& [output, target] : request->outputs) {
      context->set_output(output, targets.tensor(target));
    }
    status = targets.Publish();
    if (!status.ok()) return status;
    slot.Add(report);
    return absl::OkStatus();
  }

  static bool IsV1(const std::string& prefix) {
    tensorflow::Env* env = tensorflow::Env::Default();
    return absl::IsNotFound(env->FileExists(IndexName(prefix)));
  }

  absl::StatusOr<Request> Unpack(OpKernelContext* context) const {
    auto names = StringVector(context->input(1), "tensor_names", dtypes_.size());
    if (!names.ok()) return names.status();
    auto slices = StringVector(context->input(2), "shape_and_slices", dtypes_.size());
    if (!slices.ok()) return slices.status();
    std::vector<const PinnedVariable*> variables;
    for (int i = 0; i < num_pins_; ++i) {
      absl::StatusOr<const PinnedVariables*> pins = PinsInput(context, kFixedInputs + i);
      if (!pins.ok()) return pins.status();
      for (const PinnedVariable& pinned : (*pins)->variables()) variables.push_back(&pinned);
    }
    if (variables.size() != variable_entries_.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          variables.size(), " variables but ", variable_entries_.size(), " variable_entries"));
    }
    Request request;
    std::vector<std::vector<RestoreTarget>> targets_of(dtypes_.size());
    for (size_t i = 0; i < variables.size(); ++i) {
      targets_of[variable_entries_[i]].push_back(
          {variables[i], variable_shapes_[i], static_cast<bool>(validate_shapes_[i])});
    }
    std::vector<std::vector<int>> outputs(dtypes_.size());
    for (size_t i = 0; i < tensor_entries_.size(); ++i) {
      outputs[tensor_entries_[i]].push_back(static_cast<int>(i));
    }
    for (size_t i = 0; i < dtypes_.size(); ++i) {
      // A run of some of the saver's assignments may leave out names that the checkpoint lacks.
      if (targets_of[i].empty() && outputs[i].empty()) continue;
      std::vector<RestoreTarget>& targets = request.targets;
      const size_t first = targets.size();
      targets.insert(targets.end(), targets_of[i].begin(), targets_of[i].end());
      for (int output : outputs[i]) {
        request.outputs.emplace_back(output, static_cast<int>(targets.size()));
        targets.push_back({nullptr, tensor_shapes_[output], false});
      }
      request.entries.push_back({(*names)[i], (*slices)[i], dtypes_[i], static_cast<int>(first),
                                 static_cast<int>(targets.size() - first)});
    }
    request.target_count = request.targets.size();
    return request;
  }

  absl::Status Load(OpKernelContext* context, const std::string& prefix, const Request& request,
                    VariableTargets* targets, const LoadOptions& options, Report* report) const {
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix);
    if (!index.ok()) return index.status();
    std::vector<RestoreEntry> entries;
    std::vector<int> variants;
    for (size_t i = 0; i < request.entries.size(); ++i) {
      if (request.entries[i].dtype == tensorflow::DT_VARIANT) {
        variants.push_back(static_cast<int>(i));
      } else {
        entries.push_back(request.entries[i]);
      }
    }
    absl::StatusOr<RestorePlan> plan = BuildRestorePlan(*index, entries);
    if (!plan.ok()) return plan.status();
    UniqueLines unfit;
    for (const Group& group : plan->groups) {
      for (const Target& target : group.targets) {
        const absl::Status fits =
            targets->CheckFits(target.number, group.dtype, ShapeOf(target.shape()));
        if (fits.ok()) continue;
        unfit.Add(
            absl::StrCat("tensor_name = ", absl::CHexEscape(group.name), "; ", fits.message()));
      }
    }
    if (!unfit.empty()) return absl::InvalidArgumentError(unfit.text());
    if (!variants.empty()) {
      absl::Status status = LoadByStock(context, request, variants, targets);
      if (!status.ok()) return status;
    }
    absl::StatusOr<LoadReport> loaded = LoadBundle(prefix, *index, *plan, targets, options);
    if (!loaded.ok()) return loaded.status();
    report->bytes = loaded->read_bytes;
    report->refused_methods = std::move(loaded->no_swap);
    report->variable_count = plan->groups.size();
    report->value_count = request.target_count;
    return absl::OkStatus();
  }

  // Restores some entries by stock TensorFlow's kernel.
  absl::Status LoadByStock(OpKernelContext* context, const Request& request,
                           const std::vector<int>& entries, VariableTargets* targets) const {
    const tensorflow::TensorShape shape({static_cast<int64_t>(entries.size())});
    Tensor names(tensorflow::DT_STRING, shape);
    Tensor slices(tensorflow::DT_STRING, shape);
    DataTypeVector dtypes;
    for (size_t i = 0; i < entries.size(); ++i) {
      const RestoreEntry& entry = request.entries[entries[i]];
      names.vec<tensorflow::tstring>()(i) = entry.name;
      slices.vec<tensorflow::tstring>()(i) = entry.shape_and_slice;
      dtypes.push_back(entry.dtype);
    }
    absl::StatusOr<std::vector<Tensor>> tensors =
        RestoreByStock(context, context->input(0), names, slices, dtypes);
    if (!tensors.ok()) return tensors.status();
    for (size_t i = 0; i < entries.size(); ++i) {
      const RestoreEntry& entry = request.entries[entries[i]];
      const Tensor tensor = std::exchange((*tensors)[i], Tensor());
      for (int n = 0; n < entry.target_count; ++n) {
        absl::Status status =
            targets->CheckFits(entry.first_target + n, tensor.dtype(), tensor.shape());
        if (!status.ok()) {
          return absl::InvalidArgumentError(
              absl::StrCat("tensor_name = ", absl::CHexEscape(entry.name), "; ", status.message()));
        }
        status = targets->Set(entry.first_target + n,
                              n == 0 ? tensor : tensorflow::tensor::DeepCopy(tensor));
        if (!status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  static constexpr int kFixedInputs = 3;  // prefix, tensor_names, shape_and_slices

  int num_pins_;
  DataTypeVector dtypes_;
  std::vector<int64_t> variable_entries_;
  std::vector<tensorflow::PartialTensorShape> variable_shapes_;
  std::vector<bool> validate_shapes_;
  std::vector<int64_t> tensor_entries_;
  std::vector<tensorflow::PartialTensorShape> tensor_shapes_;
  Verify verify_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistRestore").Device(tensorflow::DEVICE_CPU), RestoreOp);

}  // namespace
}  // namespace autodist
