// The ops that move the bytes of a save over a data connection. AutodistSendParts, on a task, sends
// sources that it holds to AutodistReceiveParts, on the chief, which writes them to the data file.
// They are in one run. docs/design/data-connections.md has the reasons.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/number_reader.h"
#include "format/values/element_type.h"
#include "ops/listeners.h"
#include "ops/save/sums_output.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "save/data/figures_collector.h"
#include "save/plan/part_codec.h"
#include "sessions/gate.h"
#include "sessions/save_session.h"
#include "storage/posix/posix_io.h"
#include "streams/frames.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;

REGISTER_OP("AutodistSendParts")
    .Input("save_id: string")
    .Input("reads: int64")
    .Output("sent_bytes: int64")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
Sends elements of sources that a task holds to the chief, over their data connection.

save_id: As in AutodistOpenSave.
reads: What to send, as cc/save/plan/part_codec.h has it.
sent_bytes: Scalar.
)doc");

REGISTER_OP("AutodistReceiveParts")
    .Input("save_id: string")
    .Input("number: int64")
    .Input("parts: int64")
    .Output("sums: int64")
    .Attr("figures: bool = false")
    .SetIsStateful()
    .SetShapeFn(SumsShape)
    .Doc(R"doc(
Writes parts of the data file that a task sends over its data connection.

save_id: As in AutodistOpenSave.
number: Scalar. The number of the task.
parts: For each part its first byte in the file, its size in bytes and the number of its dtype, in
  the order of the `reads` that AutodistSendParts has.
sums: As in AutodistWriteParts, as is figures.
)doc");

class SendPartsOp : public SessionOp<SaveSession> {
 public:
  using SessionOp::SessionOp;

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    const Gate::Visit visit(&save->reading());
    if (!visit.is_inside()) {
      return absl::FailedPreconditionError("the save was ended before this was read");
    }
    const absl::StatusOr<std::vector<PartRead>> reads = DecodeReads(NumbersInput(context, 1));
    if (!reads.ok()) return reads.status();
    const auto connection = save->connections().Find(kChiefNumber);
    if (!connection.ok()) return connection.status();
    FrameSender sender(connection->get(), cancelled);
    int64_t sent_bytes = 0;
    for (const PartRead& read : *reads) {
      const absl::StatusOr<SourceValue> value = save->Source(read.source);
      if (!value.ok()) return value.status();
      const absl::StatusOr<int64_t> sent = SendElements(*value, read, &sender);
      if (!sent.ok()) return OfLostTask(sent.status());
      sent_bytes += *sent;
    }
    const absl::Status finished = sender.Finish();
    if (!finished.ok()) return OfLostTask(finished);
    save->Touch();
    SetScalar<int64_t>(context, 0, sent_bytes);
    return absl::OkStatus();
  }

  // Returns how many bytes were sent.
  static absl::StatusOr<int64_t> SendElements(const SourceValue& value, const PartRead& read,
                                              FrameSender* sender) {
    // Holds no lock while it waits for the network.
    if (!value.has_tensor()) {
      return absl::InternalError(
          absl::StrCat("source ", read.source, " of the save is sent, but was not kept"));
    }
    const int64_t elements = value.tensor.NumElements();
    const int64_t element_bytes = SavedElementBytes(value.tensor.dtype());
    if (element_bytes == 0 || read.first > elements || read.count > elements - read.first) {
      return absl::InvalidArgumentError(absl::StrCat("source ", read.source, " of the save has no ",
                                                     read.count, " elements at ", read.first));
    }
    const char* const bytes = value.tensor.tensor_data().data() + read.first * element_bytes;
    const int64_t size = read.count * element_bytes;
    const absl::Status sent =
        sender->Send(size, value.is_fixed && value.image == nullptr ? bytes : nullptr,
                     [&](int64_t begin, int64_t count, char* out) {
                       if (value.image == nullptr) {
                         std::memcpy(out, bytes + begin, static_cast<size_t>(count));
                         return absl::OkStatus();
                       }
                       absl::Status status = value.image->Read(bytes + begin, count, out);
                       if (status.ok()) value.image->Release(bytes + begin, count);
                       return status;
                     });
    if (!sent.ok()) return sent;
    return size;
  }
};

class ReceivePartsOp : public SessionOp<SaveSession> {
 public:
  explicit ReceivePartsOp(tensorflow::OpKernelConstruction* context) : SessionOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("figures", &has_figures_));
  }

 private:
  absl::Status WorkIn(SaveSession* save, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    const FileSizeErrors file_size_errors;
    const std::vector<int64_t> numbers = NumbersInput(context, 2);
    NumberReader reader(numbers.data(), numbers.size());
    std::vector<ReceivedPiece> pieces;
    std::vector<std::optional<FiguresCollector>> collectors;
    while (!reader.is_complete() && !reader.has_failed()) {
      const int64_t offset = reader.Natural();
      pieces.push_back({offset, reader.Next(0, INT64_MAX - offset)});
      const auto dtype = static_cast<tensorflow::DataType>(reader.Next(0, INT32_MAX));
      std::optional<FiguresCollector>& collector = collectors.emplace_back();
      const Arithmetic arithmetic = ArithmeticOf(dtype);
      if (has_figures_ && HasFigures(arithmetic.type)) collector.emplace(arithmetic);
    }
    if (reader.has_failed()) {
      return absl::InvalidArgumentError("parts have a first byte, a size and a dtype");
    }
    const auto observer_of = [&](size_t piece) -> PieceObserver* {
      return collectors[piece] ? &*collectors[piece] : nullptr;
    };
    const auto number = static_cast<uint32_t>(context->input(1).flat<int64_t>()(0));
    const auto connection = save->connections().Find(number);
    if (!connection.ok()) return connection.status();
    const absl::StatusOr<std::vector<uint32_t>> crcs = ReceivePieces(
        connection->get(), pieces,
        [&](int64_t offset, absl::string_view bytes) { return save->Write(offset, bytes); },
        cancelled, observer_of);
    if (!crcs.ok()) return OfLostTask(crcs.status());
    save->Touch();
    std::vector<Figures> figures;
    if (has_figures_) figures.reserve(collectors.size());
    for (size_t i = 0; has_figures_ && i < collectors.size(); ++i) {
      figures.push_back(collectors[i] ? collectors[i]->figures() : Figures());
    }
    return SetSums(context, *crcs, figures);
  }

  bool has_figures_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistSendParts").Device(tensorflow::DEVICE_CPU), SendPartsOp);
REGISTER_KERNEL_BUILDER(Name("AutodistReceiveParts").Device(tensorflow::DEVICE_CPU),
                        ReceivePartsOp);

}  // namespace
}  // namespace autodist
