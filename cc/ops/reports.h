// What the last saves and restores of this process did.

#ifndef AUTODIST_OPS_REPORTS_H_
#define AUTODIST_OPS_REPORTS_H_

#include <cstdint>
#include <string>

namespace autodist {

struct SaveReport {
  int64_t written_bytes;  // of the data file
  double seconds;
  double max_lock_seconds;  // the longest time a variable was locked
  int64_t variable_count;
  int64_t shard_count;
  int64_t replica_count;  // over all shards
};

struct RestoreReport {
  int64_t read_bytes;  // of the data files, in all passes
  double seconds;
  int64_t variable_count;  // names
  int64_t target_count;    // shards, replicas and tensors that were filled
};

// Stores the report of a save to `prefix`, or of a restore from it. Thread-safe.
void KeepReport(const std::string& prefix, const SaveReport& report);
void KeepReport(const std::string& prefix, const RestoreReport& report);

// Gets the report of the last successful save to `prefix`, or restore from it, in this process.
// Returns whether there is one among the last 64 prefixes. Thread-safe.
bool LastReport(const std::string& prefix, SaveReport* report);
bool LastReport(const std::string& prefix, RestoreReport* report);

}  // namespace autodist

#endif  // AUTODIST_OPS_REPORTS_H_
