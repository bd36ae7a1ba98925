// The ops that make the data connections of a save or restore: docs/design/data-connections.md.
//
//   chief                           every task that sends to the chief, or gets from it
//   AutodistListenForStreams  -->   AutodistConnectSave, AutodistConnectRestore
//   AutodistAcceptForSave,    <-->
//   AutodistAcceptForRestore
//
// One run has all of them. The listener ends with it.

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ops/kernel_inputs.h"
#include "ops/listeners.h"
#include "ops/session_op.h"
#include "ops/task_op.h"
#include "sessions/restore_session.h"
#include "sessions/save_session.h"
#include "sockets/connecting.h"
#include "streams/accepting.h"
#include "streams/data_connection.h"
#include "streams/handshake.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::tstring;

REGISTER_OP("AutodistListenForStreams")
    .Output("listener: variant")
    .Output("hosts: string")
    .Output("port: int64")
    .Output("failure: string")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->Scalar());
      context->set_output(1, context->Vector(context->UnknownDim()));
      context->set_output(2, context->Scalar());
      context->set_output(3, context->Scalar());
      return absl::OkStatus();
    })
    .Doc(R"doc(
Listens on a free TCP port for data connections. The port closes when the run has ended.

listener: A scalar. It has a meaning only within the process.
hosts: The IPv4 addresses of this machine.
port: Scalar.
failure: Scalar. Why it does not listen; empty if it does.
)doc");

absl::Status AcceptShape(tensorflow::shape_inference::InferenceContext* context) {
  context->set_output(0, context->Vector(context->UnknownDim()));
  return absl::OkStatus();
}

constexpr char kAcceptDoc[] = R"doc(
Accepts data connections of tasks that know the secret.

save_id: As in AutodistOpenSave or AutodistOpenRestore.
listener: From AutodistListenForStreams on the same task.
secret: Scalar. 32 random bytes of this save or restore.
numbers: The numbers of the tasks.
tasks: Their names, for messages.
timeout_ms: Scalar. How long to wait for them.
lease_seconds: Scalar. For how long a connection may be silent.
accepted: The numbers of those that have connected.
)doc";

constexpr char kConnectDoc[] = R"doc(
Makes a data connection to the chief.

save_id: As in AutodistOpenSave or AutodistOpenRestore.
hosts: From AutodistListenForStreams, as is port.
secret: As in AutodistAcceptForSave, as are timeout_ms and lease_seconds.
number: The number of this task.
chief: The chief's task, for messages.
failure: Scalar. Why it cannot connect; empty if it has.
)doc";

#define REGISTER_CONNECT_OPS(what)                          \
  REGISTER_OP("AutodistAcceptFor" what)                     \
      .Input("save_id: string")                             \
      .Input("listener: variant")                           \
      .Input("secret: string")                              \
      .Input("numbers: int64")                              \
      .Input("tasks: string")                               \
      .Input("timeout_ms: int64")                           \
      .Input("lease_seconds: int64")                        \
      .Output("accepted: int64")                            \
      .SetIsStateful()                                      \
      .SetShapeFn(AcceptShape)                              \
      .Doc(kAcceptDoc);                                     \
  REGISTER_OP("AutodistConnect" what)                       \
      .Input("save_id: string")                             \
      .Input("hosts: string")                               \
      .Input("port: int64")                                 \
      .Input("secret: string")                              \
      .Input("timeout_ms: int64")                           \
      .Input("lease_seconds: int64")                        \
      .Output("failure: string")                            \
      .Attr("number: int >= 1")                             \
      .Attr("chief: string")                                \
      .SetIsStateful()                                      \
      .SetShapeFn(tensorflow::shape_inference::ScalarShape) \
      .Doc(kConnectDoc)

REGISTER_CONNECT_OPS("Save");
REGISTER_CONNECT_OPS("Restore");

std::vector<std::string> Strings(OpKernelContext* context, int input) {
  const auto strings = context->input(input).flat<tstring>();
  return std::vector<std::string>(strings.data(), strings.data() + strings.size());
}

absl::StatusOr<StreamSecret> SecretInput(OpKernelContext* context, int input) {
  return StreamSecret::Of(context->input(input).flat<tstring>()(0));
}

SocketClock::time_point UntilInput(OpKernelContext* context, int input) {
  return SocketClock::now() + std::chrono::milliseconds(context->input(input).flat<int64_t>()(0));
}

class ListenForStreamsOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    WithinMemory(context, [&] {
      absl::StatusOr<Listener> listener = Listener::Open();
      const bool listens = listener.ok();
      SetVector<tstring>(context, 1, listens ? listener->hosts : std::vector<std::string>());
      SetScalar<int64_t>(context, 2, listens ? listener->port : 0);
      SetScalar<tstring>(context, 3, std::string(listener.status().message()));
      SetListener(context, 0, listens ? SharedListener(*std::move(listener)) : SharedListener());
    });
  }
};

template <typename Session>
class AcceptOp : public SessionOp<Session> {
 public:
  using SessionOp<Session>::SessionOp;

 private:
  absl::Status WorkIn(Session* session, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    const std::shared_ptr<const Listener> listener = ListenerInput(context, 1);
    const absl::StatusOr<StreamSecret> secret = SecretInput(context, 2);
    if (!secret.ok()) return secret.status();
    const std::vector<int64_t> numbers = NumbersInput(context, 3);
    const std::vector<std::string> tasks = Strings(context, 4);
    if (tasks.size() != numbers.size()) {
      return absl::InvalidArgumentError(absl::StrCat("there are ", numbers.size(), " numbers, but ",
                                                     tasks.size(), " names of tasks"));
    }
    std::map<uint32_t, std::string> names;
    std::set<uint32_t> awaited;
    for (size_t i = 0; i < numbers.size(); ++i) {
      const auto number = static_cast<uint32_t>(numbers[i]);
      names[number] = tasks[i];
      awaited.insert(number);
    }
    std::vector<int64_t> accepted;
    if (listener != nullptr) {
      auto sockets = AcceptTasks(*listener, *secret, awaited, UntilInput(context, 5), cancelled);
      if (!sockets.ok()) return sockets.status();
      for (auto& [number, socket] : *sockets) {
        session->connections().Add(
            number, std::make_shared<DataConnection>(std::move(socket), names[number],
                                                     LeaseInput(context, 6)));
        accepted.push_back(number);
      }
    }
    SetVector<int64_t>(context, 0, accepted);
    return absl::OkStatus();
  }
};

template <typename Session>
class ConnectOp : public SessionOp<Session> {
 public:
  explicit ConnectOp(tensorflow::OpKernelConstruction* context) : SessionOp<Session>(context) {
    OP_REQUIRES_OK(context, context->GetAttr("number", &number_));
    OP_REQUIRES_OK(context, context->GetAttr("chief", &chief_));
  }

 private:
  absl::Status WorkIn(Session* session, OpKernelContext* context,
                      const std::atomic<bool>& cancelled) override {
    const absl::StatusOr<StreamSecret> secret = SecretInput(context, 3);
    if (!secret.ok()) return secret.status();
    const auto port = static_cast<int>(context->input(2).flat<int64_t>()(0));
    const auto number = static_cast<uint32_t>(number_);
    const auto found = ConnectToFirst(
        Strings(context, 1), port, UntilInput(context, 4), cancelled, [&](Descriptor socket) {
          return std::make_unique<ConnectingSide>(std::move(socket), *secret, number);
        });
    if (!found.ok() && !absl::IsUnavailable(found.status())) return found.status();
    if (found.ok()) {
      session->connections().Add(
          kChiefNumber,
          std::make_shared<DataConnection>(static_cast<ConnectingSide*>(found->get())->TakeSocket(),
                                           chief_, LeaseInput(context, 5)));
    }
    SetScalar<tstring>(context, 0, std::string(found.status().message()));
    return absl::OkStatus();
  }

  int number_;
  std::string chief_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistListenForStreams").Device(tensorflow::DEVICE_CPU),
                        ListenForStreamsOp);
REGISTER_KERNEL_BUILDER(Name("AutodistAcceptForSave").Device(tensorflow::DEVICE_CPU),
                        AcceptOp<SaveSession>);
REGISTER_KERNEL_BUILDER(Name("AutodistAcceptForRestore").Device(tensorflow::DEVICE_CPU),
                        AcceptOp<RestoreSession>);
REGISTER_KERNEL_BUILDER(Name("AutodistConnectSave").Device(tensorflow::DEVICE_CPU),
                        ConnectOp<SaveSession>);
REGISTER_KERNEL_BUILDER(Name("AutodistConnectRestore").Device(tensorflow::DEVICE_CPU),
                        ConnectOp<RestoreSession>);

}  // namespace
}  // namespace autodist
