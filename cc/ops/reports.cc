// See the header for what this is for.

#include "ops/reports.h"

#include "ops/report_log.h"

namespace autodist {
namespace {

template <typename Report>
ReportLog<Report>& Log() {
  static auto* const log = new ReportLog<Report>;
  return *log;
}

}  // namespace

void KeepReport(const std::string& prefix, const AutodistSaveReport& report) {
  Log<AutodistSaveReport>().Keep(prefix, report);
}

void KeepReport(const std::string& prefix, const AutodistRestoreReport& report) {
  Log<AutodistRestoreReport>().Keep(prefix, report);
}

}  // namespace autodist

int autodist_last_save(const char* prefix, AutodistSaveReport* out) {
  return autodist::Log<AutodistSaveReport>().Get(prefix, out) ? 1 : 0;
}

int autodist_last_restore(const char* prefix, AutodistRestoreReport* out) {
  return autodist::Log<AutodistRestoreReport>().Get(prefix, out) ? 1 : 0;
}
