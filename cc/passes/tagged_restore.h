// A RestoreV2 node that asks to be replaced, and what its private attributes say.
//
// They are set on stock nodes by autodist's Saver; stock TensorFlow ignores them.

#ifndef AUTODIST_PASSES_TAGGED_RESTORE_H_
#define AUTODIST_PASSES_TAGGED_RESTORE_H_

#include <string>

#include "tensorflow/core/graph/graph.h"

namespace autodist {

struct RestoreTag {
  std::string verify;  // _autodist_verify
  int threads;         // _autodist_threads
};

// Whether `node` is a RestoreV2 with a true _autodist_restore.
bool IsTaggedRestore(const tensorflow::Node& node);

// REQUIRES: IsTaggedRestore(node).
RestoreTag ReadRestoreTag(const tensorflow::Node& node);

}  // namespace autodist

#endif  // AUTODIST_PASSES_TAGGED_RESTORE_H_
