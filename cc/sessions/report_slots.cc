// Report slots: the ops of this process report there how far a save or restore is, and what it did.
// The header tells how.

#include "sessions/report_slots.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace autodist {
namespace {

// Guards everything in all slots, except the counts of bytes, which are atomic.
std::mutex& Mutex() {
  static auto* const mutex = new std::mutex;
  return *mutex;
}

// Notified when a save has taken its values, and when an op ends.
std::condition_variable& Changed() {
  static auto* const changed = new std::condition_variable;
  return *changed;
}

// The slots that are open, in the order in which they were opened. REQUIRES: Mutex() is held.
std::vector<std::shared_ptr<ReportSlot>>& OpenSlots() {
  static auto* const slots = new std::vector<std::shared_ptr<ReportSlot>>;
  return *slots;
}

}  // namespace

std::shared_ptr<ReportSlot> ReportSlot::Open(Kind kind, std::vector<std::string> paths,
                                             std::optional<InstantOptions> instant,
                                             bool wants_figures) {
  std::shared_ptr<ReportSlot> slot(
      new ReportSlot(kind, std::move(paths), std::move(instant), wants_figures));
  const std::lock_guard<std::mutex> lock(Mutex());
  OpenSlots().push_back(slot);
  return slot;
}

void ReportSlot::AddPath(std::string path) {
  const std::lock_guard<std::mutex> lock(Mutex());
  paths_.push_back(std::move(path));
}

void ReportSlot::Close() {
  const std::lock_guard<std::mutex> lock(Mutex());
  std::vector<std::shared_ptr<ReportSlot>>& slots = OpenSlots();
  const auto found = std::find_if(slots.begin(), slots.end(),
                                  [this](const auto& slot) { return slot.get() == this; });
  if (found != slots.end()) slots.erase(found);
}

std::optional<InstantOptions> ReportSlot::InstantFor(const std::string& path) {
  const std::lock_guard<std::mutex> lock(Mutex());
  for (const std::shared_ptr<ReportSlot>& slot : OpenSlots()) {
    if (slot->kind_ == Kind::kSave && slot->instant_ && slot->HasPath(path)) return slot->instant_;
  }
  return std::nullopt;
}

bool ReportSlot::WaitUntilTaken(double seconds) const {
  std::unique_lock<std::mutex> lock(Mutex());
  return Changed().wait_for(lock, std::chrono::duration<double>(seconds),
                            [this] { return told_->is_taken; });
}

void ReportSlot::NoteTaken() {
  {
    const std::lock_guard<std::mutex> lock(Mutex());
    told_->is_taken = true;
  }
  Changed().notify_all();
}

void ReportSlot::Cancel() {
  const std::lock_guard<std::mutex> lock(Mutex());
  is_cancelled_ = true;
  for (const std::shared_ptr<Progress>& progress : told_->progress) progress->Cancel();
}

void ReportSlot::WaitUntilIdle() const {
  std::unique_lock<std::mutex> lock(Mutex());
  Changed().wait(lock, [this] { return told_->running == 0; });
}

void ReportSlot::OutliveSession() {
  const std::lock_guard<std::mutex> lock(Mutex());
  outlives_session_ = true;
}

// REQUIRES: Mutex() is held.
bool ReportSlot::HasPath(const std::string& path) const {
  return std::find(paths_.begin(), paths_.end(), path) != paths_.end();
}

int64_t ReportSlot::OpenCount() {
  const std::lock_guard<std::mutex> lock(Mutex());
  return static_cast<int64_t>(OpenSlots().size());
}

ReportSlot::Bytes ReportSlot::bytes() const {
  const std::lock_guard<std::mutex> lock(Mutex());
  Bytes bytes{0, 0};
  for (const auto& progress : told_->progress) {
    bytes.done += progress->done_bytes();
    bytes.total += progress->total_bytes();
  }
  return bytes;
}

std::optional<Report> ReportSlot::TakeReport() {
  const auto is_done = [](const Told& told) { return told.report && told.running == 0; };
  const std::lock_guard<std::mutex> lock(Mutex());
  if (!is_done(*told_)) {
    for (const std::shared_ptr<ReportSlot>& other : OpenSlots()) {
      if (other->kind_ != kind_ || other->paths_ != paths_ || !is_done(*other->told_)) continue;
      // The run of `other` uses this slot, or will.
      std::swap(told_, other->told_);
      break;
    }
  }
  return std::exchange(told_->report, std::nullopt);
}

// Takes the slot of this run; else the newest that no op has used; else the newest whose ops have
// all ended.
SlotUse::SlotUse(ReportSlot::Kind kind, const std::string& path, int64_t step_id,
                 Clock::time_point start)
    : progress_(std::make_shared<Progress>()) {
  const std::lock_guard<std::mutex> lock(Mutex());
  std::shared_ptr<ReportSlot::Told> own, unused, ended;
  bool is_cancelled = false;
  for (const std::shared_ptr<ReportSlot>& slot : OpenSlots()) {
    if (kind != slot->kind_ || !slot->HasPath(path)) continue;
    is_cancelled |= slot->is_cancelled_;
    outlives_session_ |= slot->outlives_session_;
    wants_figures_ |= slot->wants_figures_;
    if (slot->told_->step_id == step_id) {
      own = slot->told_;
    } else if (!slot->told_->step_id) {
      unused = slot->told_;
    } else if (slot->told_->running == 0) {
      ended = slot->told_;
    }
  }
  const auto& found = own != nullptr ? own : unused != nullptr ? unused : ended;
  if (found == nullptr) return;
  if (found->step_id != step_id) {
    *found = ReportSlot::Told();
    found->step_id = step_id;
    found->start = start;
  }
  found->start = std::min(found->start, start);
  found->progress.push_back(progress_);
  if (is_cancelled) progress_->Cancel();
  ++found->running;
  told_ = found;
}

SlotUse::~SlotUse() {
  if (told_ == nullptr) return;
  {
    const std::lock_guard<std::mutex> lock(Mutex());
    --told_->running;
  }
  Changed().notify_all();
}

void SlotUse::NoteTaken() {
  if (told_ == nullptr) return;
  {
    const std::lock_guard<std::mutex> lock(Mutex());
    told_->is_taken = true;
  }
  Changed().notify_all();
}

void SlotUse::Add(const Report& report) {
  if (told_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(Mutex());
  if (!told_->report) told_->report.emplace();
  Report& sum = *told_->report;
  sum.bytes += report.bytes;
  sum.seconds = std::chrono::duration<double>(Clock::now() - told_->start).count();
  sum.max_lock_seconds = std::max(sum.max_lock_seconds, report.max_lock_seconds);
  sum.variable_count += report.variable_count;
  sum.shard_count += report.shard_count;
  sum.value_count += report.value_count;
  if (!report.instant_method.empty()) sum.instant_method = report.instant_method;
  if (!report.refused_methods.empty()) sum.refused_methods = report.refused_methods;
  if (!report.other_values.empty()) sum.other_values = report.other_values;
  sum.figures += report.figures;
}

}  // namespace autodist
