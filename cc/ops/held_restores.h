// Restores of a cluster while they are on their way, on one of its tasks.
//
// As a save of several tasks (held_saves.h), such a restore is many ops. What is restored stays
// here, seen by nobody, until the client knows that all tasks have everything: then it is
// published. A variable that had a value is without one from the moment its memory is written until
// then; if that never comes it stays so, and whoever reads it is told that it is not initialized.

#ifndef AUTODIST_OPS_HELD_RESTORES_H_
#define AUTODIST_OPS_HELD_RESTORES_H_

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
#include "bundle/bundle_reader.h"
#include "bundle/data_files.h"
#include "bundle/restore_plan.h"
#include "ops/gate.h"
#include "ops/leases.h"
#include "ops/pinned_variables.h"
#include "ops/variable_targets.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Thread-safe, but for what is said. An op that is given up goes on for a while: once the restore
// is ended, it takes no variable any more.
class HeldRestore : public Leased {
 public:
  static constexpr char kWhat[] = "restore";

  using Leased::Leased;
  // Lets go of it as Drop(false) does.
  ~HeldRestore();

  // Where the files are, for a task that reads them; before anybody else has the restore.
  void SetFiles(std::string prefix, int shard_count);
  const std::string& prefix() const { return prefix_; }
  int shard_count() const { return shard_count_; }

  // What is restored here: entry i into destination i, a variable that `pins` keeps alive, or a new
  // tensor. Once, before any of the calls below. Returns what is wrong with each destination that
  // does not fit.
  absl::StatusOr<std::vector<std::string>> SetTargets(BundleIndex index,
                                                      const std::vector<RestoreEntry>& entries,
                                                      std::vector<Destination> destinations,
                                                      std::vector<PinnedVariables> pins);

  // For each destination whether it is a variable with a value that gets another of the same type
  // and shape.
  const std::vector<bool>& live() const { return live_; }

  // Whether all that is restored here can be read from files, which are opened. Once, before
  // Fill().
  bool OpenFiles();

  // Bytes [begin, end) of an entry of the index.
  struct Range {
    int64_t entry;
    int64_t begin;
    int64_t end;
  };

  // Writes ranges into the targets that are live, or into those that are not: from the files, or if
  // `bytes` has data from there, one after the other. Returns the CRC of each.
  absl::StatusOr<std::vector<uint32_t>> Fill(bool live, absl::Span<const Range> ranges,
                                             absl::string_view bytes, int threads,
                                             const std::atomic<bool>* cancelled);

  // Makes what was written the values of the variables, once. Waits for those that fill, and fails
  // where one of them has failed.
  absl::Status Publish();

  // What a destination that is no variable has become. REQUIRES: Publish() was ok.
  const tensorflow::Tensor& tensor(int number) const { return targets_->tensor(number); }

  // Ends the restore: waits for those that fill, who end early. Variables that were written to and
  // not published have no value; with `withdraw` those that were published have none either.
  void Drop(bool withdraw);

 private:
  // What is restored into the targets that are live, or into those that are not.
  struct Half {
    RestorePlan plan;
    std::unordered_map<int64_t, std::pair<int, int>> places;  // by entry: group, piece
  };

  struct Shape {
    tensorflow::DataType dtype;
    Dims dims;
  };

  absl::StatusOr<std::vector<uint32_t>> FillInside(bool live, absl::Span<const Range> ranges,
                                                   absl::string_view bytes, int threads,
                                                   const std::atomic<bool>* cancelled);
  absl::StatusOr<std::vector<tensorflow::Tensor>> Memory(bool live, const Group& group);

  std::string prefix_;
  int shard_count_ = 0;
  Gate setting_, filling_;  // SetTargets(), Fill()
  std::unique_ptr<DataFiles> files_;
  BundleIndex index_;
  std::vector<PinnedVariables> pins_;
  std::unique_ptr<VariableTargets> targets_;
  std::vector<bool> live_;
  std::vector<Shape> shapes_;  // by destination
  Half halves_[2];             // by whether they are live
  std::mutex mutex_;           // of what follows, and of `targets_` but for tensor()
  std::unordered_map<int, std::optional<tensorflow::Tensor>> memory_;  // by destination
  bool has_failed_ = false;
  bool is_published_ = false;
  bool is_ended_ = false;
};

using HeldRestores = Leases<HeldRestore>;

}  // namespace autodist

#endif  // AUTODIST_OPS_HELD_RESTORES_H_
