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

void KeepReport(const std::string& prefix, const SaveReport& report) {
  Log<SaveReport>().Keep(prefix, report);
}

void KeepReport(const std::string& prefix, const RestoreReport& report) {
  Log<RestoreReport>().Keep(prefix, report);
}

bool LastReport(const std::string& prefix, SaveReport* report) {
  return Log<SaveReport>().Get(prefix, report);
}

bool LastReport(const std::string& prefix, RestoreReport* report) {
  return Log<RestoreReport>().Get(prefix, report);
}

}  // namespace autodist
