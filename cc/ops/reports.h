// What the last saves and restores of this process did.

#ifndef AUTODIST_OPS_REPORTS_H_
#define AUTODIST_OPS_REPORTS_H_

#include <cstdint>
#include <string>

extern "C" {

// Both are read by python/autodist/_native.py, field by field in this order.
struct AutodistSaveReport {
  int64_t written_bytes;  // of the data file
  double seconds;
  double max_lock_seconds;  // the longest time a variable was locked
  int64_t variable_count;
  int64_t shard_count;
  int64_t replica_count;  // over all shards
};

struct AutodistRestoreReport {
  int64_t read_bytes;  // of the data files, in all passes
  double seconds;
  int64_t variable_count;  // names
  int64_t target_count;    // shards, replicas and tensors that were filled
};

// Fill `out` with the report of the last successful save to, or restore from, `prefix` in this
// process and return 1; 0 when there is none among the last 64 prefixes. Thread-safe.
__attribute__((visibility("default"))) int autodist_last_save(const char* prefix,
                                                              AutodistSaveReport* out);
__attribute__((visibility("default"))) int autodist_last_restore(const char* prefix,
                                                                 AutodistRestoreReport* out);

}  // extern "C"

namespace autodist {

// Thread-safe.
void KeepReport(const std::string& prefix, const AutodistSaveReport& report);
void KeepReport(const std::string& prefix, const AutodistRestoreReport& report);

}  // namespace autodist

#endif  // AUTODIST_OPS_REPORTS_H_
