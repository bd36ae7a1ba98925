// The base class of ops that do a part of a save or restore of several tasks. An earlier op has
// begun that save or restore on this task.

#ifndef AUTODIST_OPS_SESSION_OP_H_
#define AUTODIST_OPS_SESSION_OP_H_

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ops/task_op.h"
#include "sessions/leases.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {

// An op whose input 0 is the id of a `Session` that this task holds. The op
// renews its lease, and keeps it alive while it works.
template <typename Session>
class SessionOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 protected:
  // As TaskOp::Work.
  virtual absl::Status WorkIn(Session* session, tensorflow::OpKernelContext* context,
                              const std::atomic<bool>& cancelled) = 0;

 private:
  absl::Status Work(tensorflow::OpKernelContext* context,
                    const std::atomic<bool>& cancelled) final {
    absl::StatusOr<std::shared_ptr<Session>> session =
        Leases<Session>::Get().Find(SaveIdInput(context));
    if (!session.ok()) return session.status();
    return WorkIn(session->get(), context, cancelled);
  }
};

}  // namespace autodist

#endif  // AUTODIST_OPS_SESSION_OP_H_
