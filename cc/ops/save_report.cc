// See the header for what this is for.

#include "ops/save_report.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>

namespace autodist {
namespace {

constexpr size_t kKeptReports = 64;

struct Reports {
  std::mutex mutex;
  std::deque<std::pair<std::string, AutodistSaveReport>> entries;  // oldest first
};

Reports& AllReports() {
  static Reports* const reports = new Reports;
  return *reports;
}

auto Find(Reports* reports, const std::string& prefix) {
  return std::find_if(reports->entries.begin(), reports->entries.end(),
                      [&](const auto& entry) { return entry.first == prefix; });
}

}  // namespace

void KeepSaveReport(const std::string& prefix, const AutodistSaveReport& report) {
  Reports& reports = AllReports();
  std::lock_guard<std::mutex> lock(reports.mutex);
  const auto found = Find(&reports, prefix);
  if (found != reports.entries.end()) reports.entries.erase(found);
  reports.entries.emplace_back(prefix, report);
  if (reports.entries.size() > kKeptReports) reports.entries.pop_front();
}

}  // namespace autodist

int autodist_last_save(const char* prefix, AutodistSaveReport* out) {
  autodist::Reports& reports = autodist::AllReports();
  std::lock_guard<std::mutex> lock(reports.mutex);
  const auto found = autodist::Find(&reports, prefix);
  if (found == reports.entries.end()) return 0;
  *out = found->second;
  return 1;
}
