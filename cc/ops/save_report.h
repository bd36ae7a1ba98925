// What the last saves did, kept by prefix for whoever asks after the op has run.

#ifndef AUTODIST_OPS_SAVE_REPORT_H_
#define AUTODIST_OPS_SAVE_REPORT_H_

#include <cstdint>
#include <string>

extern "C" {

// Read by python/autodist/_native.py, field by field in this order.
struct AutodistSaveReport {
  int64_t written_bytes;  // of the data file
  double seconds;
  double max_lock_seconds;  // the longest time a variable was locked
  int64_t variable_count;
  int64_t shard_count;
  int64_t replica_count;  // over all shards
};

// Fills `out` with the report of the last successful save to `prefix` in this process and returns
// 1; 0 when there is none among the last 64 prefixes. Thread-safe.
__attribute__((visibility("default"))) int autodist_last_save(const char* prefix,
                                                              AutodistSaveReport* out);

}  // extern "C"

namespace autodist {

// Thread-safe.
void KeepSaveReport(const std::string& prefix, const AutodistSaveReport& report);

}  // namespace autodist

#endif  // AUTODIST_OPS_SAVE_REPORT_H_
