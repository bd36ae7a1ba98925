// Report slots: the ops of this process report there how far a save or restore is, and what it did.
//
// The code that starts a save or restore (`checkpoint/reports`) opens a slot for its path before,
// and closes the slot afterwards. An op finds the slot by its path. Two saves at once have a slot
// each. Nothing is kept for later.

#ifndef AUTODIST_SESSIONS_REPORT_SLOTS_H_
#define AUTODIST_SESSIONS_REPORT_SLOTS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sessions/instant.h"
#include "threads/progress.h"

namespace autodist {

// What the ops of one save or restore did.
struct Report {
  int64_t bytes = 0;            // of data files: written, or read in all passes
  double seconds = 0;           // from the beginning of the first op to the end of the last
  double max_lock_seconds = 0;  // of a save: the longest time that a variable was locked
  int64_t variable_count = 0;   // names
  int64_t shard_count = 0;      // of a save
  int64_t value_count = 0;  // replicas of all shards that were read, or targets that were filled
  // Of a save of one instant: how it was taken, or empty; why others were not possible; and the
  // names of what is not of that instant. Of a restore: why it did not swap, as it was asked to.
  std::string instant_method = {};
  std::string refused_methods = {};
  std::string other_values = {};
  // Of a save that was asked for it: the figures of what was written (save/data/tensor_figures.h).
  std::string figures = {};
};

// Thread-safe.
class ReportSlot {
 public:
  enum class Kind { kSave, kRestore };

  // Returns a slot that ops of `kind` find under each of `paths` until it is closed. `instant` says
  // how a save is to take all variables at one instant. Without it, the save does not.
  // `wants_figures`: whether a save computes figures of what it writes.
  static std::shared_ptr<ReportSlot> Open(Kind kind, std::vector<std::string> paths,
                                          std::optional<InstantOptions> instant = std::nullopt,
                                          bool wants_figures = false);
  void AddPath(std::string path);
  void Close();

  // How many bytes the ops that have begun have done, and how many they have in all.
  struct Bytes {
    int64_t done;
    int64_t total;
  };
  Bytes bytes() const;

  // Returns the report, if an op has ended without an error. Call it once the run is done. If two
  // runs with one path go on at once, an op may have used the slot of the other run. Then this
  // returns the report of that slot, so each run gets one report.
  std::optional<Report> TakeReport();

  // Waits, at most for `seconds`, until the save has all values that it writes. Returns whether it
  // has them. Later updates are not in the save.
  bool WaitUntilTaken(double seconds) const;
  // Says that the save has all values, on behalf of ops in other processes.
  void NoteTaken();

  // Asks the save to fail before its commit. Has no effect after the commit.
  void Cancel();

  // Waits until no op of the run is going on.
  void WaitUntilIdle() const;

  // Says that a save which has its values is to go on if the session is closed.
  void OutliveSession();

  // Returns how a save to `path` is to take all variables at one instant; nullopt if it is not.
  static std::optional<InstantOptions> InstantFor(const std::string& path);

  // How many slots are open in this process.
  static int64_t OpenCount();

 private:
  friend class SlotUse;
  using Clock = std::chrono::steady_clock;

  // What the ops of a run have reported.
  struct Told {
    std::optional<int64_t> step_id;  // of the run; none while no op has used the slot
    int running = 0;                 // ops
    Clock::time_point start;         // of the first op
    std::vector<std::shared_ptr<Progress>> progress;  // of each op
    std::optional<Report> report;
    bool is_taken = false;
  };

  ReportSlot(Kind kind, std::vector<std::string> paths, std::optional<InstantOptions> instant,
             bool wants_figures)
      : kind_(kind),
        paths_(std::move(paths)),
        instant_(std::move(instant)),
        wants_figures_(wants_figures) {}

  bool HasPath(const std::string& path) const;

  const Kind kind_;
  std::vector<std::string> paths_;
  const std::optional<InstantOptions> instant_;
  const bool wants_figures_;
  bool is_cancelled_ = false;
  bool outlives_session_ = false;
  std::shared_ptr<Told> told_ = std::make_shared<Told>();
};

// An op's use of the slot of its path. If there is no such slot, its reports go nowhere.
class SlotUse {
 public:
  using Clock = ReportSlot::Clock;

  // `step_id` is TensorFlow's id of the run. Ops of one run use one slot together. An op of a later
  // run clears the slot first. `start` is when the op began.
  SlotUse(ReportSlot::Kind kind, const std::string& path, int64_t step_id, Clock::time_point start);
  ~SlotUse();
  SlotUse(const SlotUse&) = delete;
  SlotUse& operator=(const SlotUse&) = delete;

  Progress* progress() { return progress_.get(); }

  // Says that the save has all values that it writes.
  void NoteTaken();
  bool outlives_session() const { return outlives_session_; }
  bool wants_figures() const { return wants_figures_; }

  // Adds what the op did to the report; `report.seconds` is ignored.
  void Add(const Report& report);

 private:
  const std::shared_ptr<Progress> progress_;
  std::shared_ptr<ReportSlot::Told> told_;  // null without a slot
  bool outlives_session_ = false;
  bool wants_figures_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_REPORT_SLOTS_H_
