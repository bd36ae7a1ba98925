// One restore of a cluster, as one of its tasks holds it while it is under way.
//
// Like a save of several tasks (save_session.h), such a restore is many ops. What is restored stays
// here, visible to nobody, until the client knows that all tasks have everything. Then it is
// published. A variable that had a value is uninitialized from the moment its memory is written
// until then. If the restore is not published, the variable stays uninitialized. Where there is new
// memory for all variables, each keeps its value until then.

#ifndef AUTODIST_SESSIONS_RESTORE_SESSION_H_
#define AUTODIST_SESSIONS_RESTORE_SESSION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "format/reader/bundle_reader.h"
#include "format/reader/data_files.h"
#include "restore/group_loader.h"
#include "restore/restore_part.h"
#include "restore/restore_plan.h"
#include "sessions/gate.h"
#include "sessions/leases.h"
#include "sessions/pinned_variables.h"
#include "sessions/variable_targets.h"
#include "streams/data_connections.h"
#include "system_memory/memory_budget.h"
#include "tensorflow/core/framework/tensor.h"
#include "threads/progress.h"

namespace autodist {

// Thread-safe, with the exceptions named below. An op that the client gave up continues for a
// while. Once the restore is ended, such an op takes no variable any more.
class RestoreSession : public Leased {
 public:
  static constexpr char kWhat[] = "restore";

  using Leased::Leased;
  // Ends it as Drop(false) does.
  ~RestoreSession();

  // Tells a task that reads them where the files are. Call it before any other thread has the
  // restore.
  void SetFiles(std::string prefix, int shard_count);
  const std::string& prefix() const { return prefix_; }
  int shard_count() const { return shard_count_; }

  // Sets what is restored here: the targets of `part` are variables that `pins` keep alive, or new
  // tensors. Called once, before the calls below. Returns the problem of each target that does not
  // fit. With `swap`, variables with values get new memory, which replaces theirs, if there is
  // enough.
  absl::StatusOr<std::vector<std::string>> SetTargets(RestorePart part,
                                                      std::vector<RestoreTarget> targets,
                                                      std::vector<PinnedVariables> pins, bool swap);

  // For each target whether it is live: a variable with a value of the type and shape that is
  // restored, whose own memory is written.
  const std::vector<bool>& live() const { return live_; }

  // Opens the files; true if all that is restored here can be read from them. Called once, before
  // Fill().
  bool OpenFiles();

  // Bytes [begin, end) of an entry of the part.
  struct Range {
    int64_t entry;
    int64_t begin;
    int64_t end;
  };

  // Writes ranges into the targets that are live, or into those that are not. Takes them from
  // `bytes`, one after the other, if that has data; else reads the files. Returns the CRC of each.
  absl::StatusOr<std::vector<uint32_t>> Fill(bool live, absl::Span<const Range> ranges,
                                             absl::string_view bytes, int threads,
                                             const std::atomic<bool>* cancelled);

  // The same, with bytes that another task sends over a data connection: the blocks of the ranges,
  // each in a frame of its own.
  absl::StatusOr<std::vector<uint32_t>> FillFrom(DataConnection* connection, bool live,
                                                 absl::Span<const Range> ranges,
                                                 const std::atomic<bool>& cancelled);

  // Over which bytes are sent from one task to another. They end with the restore.
  DataConnections& connections() { return connections_; }

  // Of the bytes that this task sums or fills.
  Progress* progress() { return &progress_; }

  // Makes what was written the values of the variables, once. Waits for threads in Fill(), and
  // fails if one of them has failed.
  absl::Status Publish();

  // The value of a target that is not a variable. REQUIRES: Publish() was ok.
  const tensorflow::Tensor& tensor(int number) const { return targets_->tensor(number); }

  // Ends the restore; threads in Fill() end early, and it waits for them. Variables that were
  // written to and not published stay uninitialized. With `withdraw` the published ones become so,
  // too.
  void Drop(bool withdraw);

 private:
  // What is restored into the targets that are live, or into those that are not.
  struct SubPlan {
    RestorePlan plan;
    std::unordered_map<int64_t, std::pair<int, int>> places;  // by entry: group, piece
  };

  struct Shape {
    tensorflow::DataType dtype;
    Dims dims;
  };

  // Ranges as blocks of the groups that they are of.
  struct Blocks;

  // Returns what `work` does, in the time in which targets are filled. Notes its failure.
  template <typename Work>
  absl::StatusOr<std::vector<uint32_t>> WhileFilling(const Work& work);

  absl::StatusOr<Blocks> BlocksOf(bool live, absl::Span<const Range> ranges);
  absl::StatusOr<std::vector<uint32_t>> FillInside(bool live, absl::Span<const Range> ranges,
                                                   absl::string_view bytes, int threads,
                                                   const std::atomic<bool>* cancelled);
  absl::StatusOr<std::vector<uint32_t>> ReceiveInside(DataConnection* connection, bool live,
                                                      absl::Span<const Range> ranges,
                                                      const std::atomic<bool>& cancelled);
  // Of a block that is about to be filled.
  absl::Status NoteBlock(int64_t size);
  bool ClaimNewMemory();
  absl::StatusOr<std::vector<GroupLoader::TargetMemory>> Memory(bool live, const Group& group);

  Progress progress_;
  std::string prefix_;
  int shard_count_ = 0;
  Gate setting_, filling_;  // SetTargets(), Fill()
  std::unique_ptr<DataFiles> files_;
  BundleIndex index_;
  std::vector<PinnedVariables> pins_;
  std::unique_ptr<VariableTargets> targets_;
  std::vector<bool> live_;
  std::vector<Shape> shapes_;  // by target
  // Of the new memory of targets that have a value; null: these are live.
  std::unique_ptr<MemoryBudget> budget_;
  SubPlan plans_[2];  // by whether they are live
  std::mutex mutex_;  // of what follows, and of `targets_` but for tensor()
  std::unordered_map<int, std::optional<tensorflow::Tensor>> memory_;  // by target
  bool has_failed_ = false;
  bool is_published_ = false;
  bool is_ended_ = false;
  DataConnections connections_;
};

using RestoreSessions = Leases<RestoreSession>;

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_RESTORE_SESSION_H_
