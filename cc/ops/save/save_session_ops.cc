// The ops of a save of several tasks that begin and end it. Those that move bytes: part_ops.cc and
// block_ops.cc.
//
//   chief                        every task                    writers         chief
//   AutodistOpenSave(id)  -->    AutodistJoinSave(id)    -->   ...      --> AutodistCommitSave(id)
//   makes the file               looks variables up, and                       writes the index,
//                                whether it sees the file                      renames
//
// AutodistDropSave(id) ends a save on a task, at any time. The client runs them in a graph of its
// own.

#include <array>
#include <atomic>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/index/index_table.h"
#include "format/values/element_type.h"
#include "ops/kernel_inputs.h"
#include "ops/save/referenced_variables.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "save/data/data_writer.h"
#include "save/plan/save_plan.h"
#include "sessions/save_session.h"
#include "storage/directory/file_place.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::tstring;
using tensorflow::shape_inference::ScalarShape;
using tensorflow::shape_inference::UnknownShape;

constexpr int kPlaceNumbers = 4;

void SetPlaceShapes(tensorflow::shape_inference::InferenceContext* context, int first) {
  context->set_output(first, context->Vector(kPlaceNumbers));
  context->set_output(first + 1, context->Scalar());
}

REGISTER_OP("AutodistOpenSave")
    .Input("save_id: string")
    .Input("prefix: string")
    .Input("lease_seconds: int64")
    .Output("path: string")
    .Output("place: int64")
    .Output("kernel: string")
    .Attr("durable: bool = true")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->Scalar());
      SetPlaceShapes(context, 1);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Begins a save of several tasks on the chief: makes the data file under a temporary name.

save_id: Scalar. A name for the save that no other has.
prefix: Scalar. The prefix of the checkpoint.
lease_seconds: Scalar. How long a task keeps the save of a client that is silent.
path: The absolute path of the data file; empty where it is none that other processes could open.
place: Where the file is: the type of its file system (statfs), the size of its blocks in bytes, its
  device and inode (stat). All are 0 if that is unknown.
kernel: The boot id of this task's kernel; empty if it is unknown.
durable: Whether all is synced.
)doc");

REGISTER_OP("AutodistJoinSave")
    .Input("save_id: string")
    .Input("path: string")
    .Input("lease_seconds: int64")
    .Input("sources: int64")
    .Input("names: string")
    .Input("pins: num_pins * variant")
    .Input("tensors: tensor_types")
    .Output("can_open: bool")
    .Output("shapes: int64")
    .Output("place: int64")
    .Output("kernel: string")
    .Attr("num_pins: int >= 0")
    .Attr("tensor_types: list(type) >= 0")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->Scalar());
      context->set_output(1, context->Vector(context->UnknownDim()));
      SetPlaceShapes(context, 2);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Joins a task to a save of several tasks: looks up its variables and opens the data file.

save_id: As in AutodistOpenSave.
path: The path of the data file; empty if this task is not to write.
lease_seconds: As in AutodistOpenSave.
sources: The numbers of the variables of `pins`, followed by those of `tensors`.
names: What messages call them.
pins: Variables, from AutodistPinVariables; or, one input, from AutodistReferenceVariables.
tensors: Other values.
can_open: Whether this task can write to `path`, or has begun the save itself. On a file system on
  which several tasks must not write: whether the directory is there.
shapes: For each source its rank, its shape and, of strings and variants, the size of its encoding;
else 0.
place: As in AutodistOpenSave, as this task sees the file; all 0 if it does not. Device and inode
  are 0 where only its directory was looked at.
kernel: As in AutodistOpenSave.
)doc");

REGISTER_OP("AutodistKeepSources")
    .Input("save_id: string")
    .Input("keep: int64")
    .Input("release: int64")
    .Input("budget_bytes: int64")
    .Output("written_bytes: int64")
    .SetIsStateful()
    .SetShapeFn(ScalarShape)
    .Doc(R"doc(
Keeps sources of a save from changing while they are sent. A source keeps the value that it had when
the save began, if it could be referred to then; else the value it has now.

save_id: As in AutodistOpenSave.
keep: Numbers of sources.
release: Numbers of sources that were kept and need not be any more; done first.
budget_bytes: Scalar. What copies of variables that are updated in place may need together.
written_bytes: How many bytes of the data file this task has written so far.
)doc");

REGISTER_OP("AutodistFinishParts")
    .Input("save_id: string")
    .Output("done: int64")
    .Attr("durable: bool = true")
    .SetIsStateful()
    .SetShapeFn(ScalarShape)
    .Doc(R"doc(
Ends the writing of a task that is not the chief: what it wrote is synced, what it held is released.
Once more, it does nothing.

save_id: As in AutodistOpenSave.
durable: Whether to sync.
done: 1.
)doc");

REGISTER_OP("AutodistCommitSave")
    .Input("save_id: string")
    .Input("keys: string")
    .Input("entries: string")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
Makes the checkpoint appear under its prefix, and ends the save on the chief.

save_id: As in AutodistOpenSave.
keys: The keys of the index, but for its header.
entries: For each key its serialized BundleEntryProto.
)doc");

REGISTER_OP("AutodistDropSave")
    .Input("save_id: string")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
Ends a save on a task, if there is one, and takes back what was written.

save_id: As in AutodistOpenSave.
)doc");

// Sets two outputs to where the file is.
void SetPlace(OpKernelContext* context, int first, const FilePlace& place) {
  const std::array<int64_t, kPlaceNumbers> numbers = {place.file_system, place.block_bytes,
                                                      place.device, place.inode};
  SetVector<int64_t>(context, first, numbers);
  SetScalar<tstring>(context, first + 1, place.kernel);
}

class OpenSaveOp : public TaskOp {
 public:
  explicit OpenSaveOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("durable", &durable_));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    absl::StatusOr<std::string> prefix = PrefixInput(context->input(1));
    if (!prefix.ok()) return prefix.status();
    absl::StatusOr<std::unique_ptr<BundleFiles>> files = BundleFiles::Create(*prefix, durable_);
    if (!files.ok()) return files.status();
    const std::string data_path = (*files)->data_path();
    auto save = std::make_shared<SaveSession>(LeaseInput(context, 2));
    save->SetFiles(*std::move(files));
    absl::Status status = SaveSessions::Get().Add(SaveIdInput(context), std::move(save));
    if (!status.ok()) return status;
    SetScalar<tstring>(context, 0, data_path);
    SetPlace(context, 1,
             data_path.empty() ? FilePlace() : PlaceOf(data_path).value_or(FilePlace()));
    return absl::OkStatus();
  }

  bool durable_;
};

// A stream of strings or variants has the size of its encoding.
absl::StatusOr<int64_t> EncodedBytes(const SourceValue& value) {
  if (SavedElementBytes(value.dtype) != 0) return 0;
  SavePlan plan;
  const Dims shape = [&] {
    const auto sizes = value.shape.dim_sizes();
    return Dims(sizes.begin(), sizes.end());
  }();
  PlannedTensor planned;
  planned.name = value.name;
  planned.dtype = value.dtype;
  planned.shape = shape;
  planned.shards.push_back({Box::Whole(shape), {0}});
  plan.tensors.push_back(std::move(planned));
  VariableSources sources({value}, LockMode::kCopy);
  absl::StatusOr<std::vector<TensorStream>> streams = MakeStreams(plan, &sources);
  if (!streams.ok()) return streams.status();
  return StreamBytes(*streams)[0];
}

class JoinSaveOp : public TaskOp {
 public:
  explicit JoinSaveOp(tensorflow::OpKernelConstruction* context) : TaskOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_pins", &num_pins_));
  }

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    const std::string id = SaveIdInput(context);
    std::shared_ptr<SaveSession> save = SaveSessions::Get().FindOrNull(id);
    const std::string path(context->input(1).flat<tstring>()(0));
    const bool is_chief = save != nullptr;
    bool can_open = is_chief;
    FilePlace place;
    if (!is_chief) {
      save = std::make_shared<SaveSession>(LeaseInput(context, 2));
      if (!path.empty()) {
        place = PlaceOfGrowing(path).value_or(FilePlace());
        can_open = place.file_system != 0;
        // Where it is not looked at, this task will hardly write.
        if (place.inode == 0) {
          save->SetDataPath(path);
        } else {
          can_open = can_open && save->OpenData(path);
        }
      }
    }
    absl::StatusOr<std::vector<SourceValue>> values = Values(context, save.get());
    if (!values.ok()) return values.status();
    const auto numbers = context->input(3).flat<int64_t>();
    std::vector<int64_t> shapes;
    for (size_t i = 0; i < values->size(); ++i) {
      const SourceValue& value = (*values)[i];
      absl::StatusOr<int64_t> encoded = EncodedBytes(value);
      if (!encoded.ok()) return encoded.status();
      shapes.push_back(value.shape.dims());
      for (int64_t size : value.shape.dim_sizes()) shapes.push_back(size);
      shapes.push_back(*encoded);
      save->AddSource(numbers(i), value);
    }
    if (!is_chief) {
      absl::Status status = SaveSessions::Get().Add(id, save);
      if (!status.ok()) return status;
    }
    SetScalar<bool>(context, 0, can_open);
    SetVector<int64_t>(context, 1, shapes);
    SetPlace(context, 2, can_open ? place : FilePlace());
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<SourceValue>> Values(OpKernelContext* context,
                                                  SaveSession* save) const {
    absl::StatusOr<SavedVariables> variables = VariablesInput(context, kFixedInputs, num_pins_);
    if (!variables.ok()) return variables.status();
    for (PinnedVariables& pins : variables->pins) save->KeepAlive(std::move(pins));
    if (variables->instant && variables->instant->image != nullptr) {
      save->KeepImage(variables->instant->image);
    }
    std::vector<SourceValue> values = std::move(variables->values);
    for (int i = kFixedInputs + num_pins_; i < context->num_inputs(); ++i) {
      if (!context->input(i).IsInitialized()) {
        return absl::FailedPreconditionError(
            absl::StrCat("input ", i, " of ", name(), " is not initialized"));
      }
      values.push_back(TensorValue(context->input(i)));
    }
    auto names = StringVector(context->input(4), "names", values.size());
    if (!names.ok()) return names.status();
    if (context->input(3).NumElements() != static_cast<int64_t>(values.size())) {
      return absl::InvalidArgumentError(absl::StrCat("there are ", values.size(),
                                                     " values but sources has the shape ",
                                                     context->input(3).shape().DebugString()));
    }
    for (size_t i = 0; i < values.size(); ++i) values[i].name = (*names)[i];
    return values;
  }

  static constexpr int kFixedInputs = 5;  // save_id, path, lease_seconds, sources, names

  int num_pins_;
};

class KeepSourcesOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    save->Release(NumbersInput(context, 2));
    const std::vector<int64_t> kept = NumbersInput(context, 1);
    absl::Status status = save->Keep(kept, context->input(3).flat<int64_t>()(0));
    if (!status.ok()) return status;
    SetScalar<int64_t>(context, 0, save->written_bytes());
    return absl::OkStatus();
  }
};

class FinishPartsOp : public SessionOp<SaveSession> {
 public:
  explicit FinishPartsOp(tensorflow::OpKernelConstruction* context) : SessionOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("durable", &durable_));
  }

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    absl::Status status = save->Finish(durable_);
    if (!status.ok()) return status;
    SetScalar<int64_t>(context, 0, 1);
    return absl::OkStatus();
  }

  bool durable_;
};

class CommitSaveOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>&) override {
    const size_t count = context->input(1).NumElements();
    auto keys = StringVector(context->input(1), "keys", count);
    if (!keys.ok()) return keys.status();
    auto protos = StringVector(context->input(2), "entries", count);
    if (!protos.ok()) return protos.status();
    std::map<std::string, tensorflow::BundleEntryProto> entries;
    for (size_t i = 0; i < count; ++i) {
      const tstring& proto = (*protos)[i];
      if (!entries[(*keys)[i]].ParseFromArray(proto.data(), static_cast<int>(proto.size()))) {
        return absl::InvalidArgumentError(absl::StrCat("entry ", i, " is no BundleEntryProto"));
      }
    }
    const absl::Status status =
        save->Commit([&](int file_count) { return BuildIndexTable(entries, file_count); });
    SaveSessions::Get().End(SaveIdInput(context));
    return status;
  }
};

class DropSaveOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 private:
  absl::Status Work(OpKernelContext* context, const std::atomic<bool>&) override {
    const std::shared_ptr<SaveSession> save = SaveSessions::Get().End(SaveIdInput(context));
    if (save != nullptr) save->Drop();
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistOpenSave").Device(tensorflow::DEVICE_CPU), OpenSaveOp);
REGISTER_KERNEL_BUILDER(Name("AutodistJoinSave").Device(tensorflow::DEVICE_CPU), JoinSaveOp);
REGISTER_KERNEL_BUILDER(Name("AutodistKeepSources").Device(tensorflow::DEVICE_CPU), KeepSourcesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistFinishParts").Device(tensorflow::DEVICE_CPU), FinishPartsOp);
REGISTER_KERNEL_BUILDER(Name("AutodistCommitSave").Device(tensorflow::DEVICE_CPU), CommitSaveOp);
REGISTER_KERNEL_BUILDER(Name("AutodistDropSave").Device(tensorflow::DEVICE_CPU), DropSaveOp);

}  // namespace
}  // namespace autodist
