// What the last saves or restores did, kept by prefix for whoever asks after the op has run.

#ifndef AUTODIST_OPS_REPORT_LOG_H_
#define AUTODIST_OPS_REPORT_LOG_H_

#include <algorithm>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

namespace autodist {

// Thread-safe.
template <typename Report>
class ReportLog {
 public:
  void Keep(const std::string& prefix, const Report& report) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = Find(prefix);
    if (found != entries_.end()) entries_.erase(found);
    entries_.emplace_back(prefix, report);
    if (entries_.size() > kKeptReports) entries_.pop_front();
  }

  // False when there is none for `prefix` among the last 64 prefixes.
  bool Get(const std::string& prefix, Report* report) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = Find(prefix);
    if (found == entries_.end()) return false;
    *report = found->second;
    return true;
  }

 private:
  static constexpr size_t kKeptReports = 64;

  auto Find(const std::string& prefix) {
    return std::find_if(entries_.begin(), entries_.end(),
                        [&](const auto& entry) { return entry.first == prefix; });
  }

  std::mutex mutex_;
  std::deque<std::pair<std::string, Report>> entries_;  // oldest first
};

}  // namespace autodist

#endif  // AUTODIST_OPS_REPORT_LOG_H_
