// Files that Python writes beside a checkpoint (graph, state file, SavedModel), staged and
// committed by the same code as the checkpoint itself. Called by python/autodist/_native.py.

#ifndef AUTODIST_OPS_STAGED_FILE_API_H_
#define AUTODIST_OPS_STAGED_FILE_API_H_

#include <cstdint>

extern "C" {

struct AutodistStagedFile;

// Each function returns a status code of TensorFlow (0: fine) and writes an error's message, cut to
// `capacity` bytes with the final NUL, into `message`. Thread-safe for different files.

// Writes `size_bytes` bytes under a temporary name beside `path` and, if `durable` is not 0, syncs
// them.
// `*file` is then for one of the other two; it is null after an error.
__attribute__((visibility("default"))) int autodist_stage_file(const char* path, const char* bytes,
                                                               int64_t size_bytes, int durable,
                                                               AutodistStagedFile** file,
                                                               char* message, int64_t capacity);

// Gives the file its name and, if it is durable, syncs the directory. After an error the file is
// gone and what had its name has it; `*is_moved` is 1 if that is not certain.
__attribute__((visibility("default"))) int autodist_commit_file(AutodistStagedFile** file,
                                                                int* is_moved, char* message,
                                                                int64_t capacity);

// Removes the file if there is one; `*file` is null afterwards.
__attribute__((visibility("default"))) void autodist_discard_file(AutodistStagedFile** file);

}  // extern "C"

#endif  // AUTODIST_OPS_STAGED_FILE_API_H_
