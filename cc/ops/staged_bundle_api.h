// A bundle that TensorFlow's own ops write, staged and committed as ours are (staged_bundle.h).
// Called by python/autodist/_native.py.

#ifndef AUTODIST_OPS_STAGED_BUNDLE_API_H_
#define AUTODIST_OPS_STAGED_BUNDLE_API_H_

#include <cstdint>

extern "C" {

struct AutodistStagedBundle;

// Statuses and messages as in staged_file_api.h.

// Makes room for a bundle that is to be under `prefix`, and writes the prefix to write it under,
// with the final NUL, into `staged_prefix`, cut to `prefix_capacity` bytes. `*bundle` is then for
// one of the other two; it is null after an error.
__attribute__((visibility("default"))) int autodist_stage_bundle(const char* prefix, int durable,
                                                                 AutodistStagedBundle** bundle,
                                                                 char* staged_prefix,
                                                                 int64_t prefix_capacity,
                                                                 char* message, int64_t capacity);

// Makes the bundle appear under its prefix.
__attribute__((visibility("default"))) int autodist_commit_bundle(AutodistStagedBundle** bundle,
                                                                  char* message, int64_t capacity);

// Removes what is still staged; `*bundle` is null afterwards.
__attribute__((visibility("default"))) void autodist_discard_bundle(AutodistStagedBundle** bundle);

}  // extern "C"

#endif  // AUTODIST_OPS_STAGED_BUNDLE_API_H_
