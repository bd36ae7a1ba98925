// The lock that a save in Python holds on its prefix. Called by python/autodist/_native.py.

#ifndef AUTODIST_OPS_PREFIX_LOCK_API_H_
#define AUTODIST_OPS_PREFIX_LOCK_API_H_

#include <cstdint>

extern "C" {

struct AutodistPrefixLock;

// Returns a status code of TensorFlow (0: fine) and writes an error's message, cut to `capacity`
// bytes with the final NUL, into `message`. `*lock` is null after an error.
// `*excludes_processes` is 1 if other processes are kept out, and not only threads of this one.
__attribute__((visibility("default"))) int autodist_lock_prefix(const char* prefix, int durable,
                                                                AutodistPrefixLock** lock,
                                                                int* excludes_processes,
                                                                char* message, int64_t capacity);

// Ends the lock if there is one; `*lock` is null afterwards.
__attribute__((visibility("default"))) void autodist_unlock_prefix(AutodistPrefixLock** lock);

}  // extern "C"

#endif  // AUTODIST_OPS_PREFIX_LOCK_API_H_
