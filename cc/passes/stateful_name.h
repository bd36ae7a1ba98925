// Names of the nodes that the passes add.

#ifndef AUTODIST_PASSES_STATEFUL_NAME_H_
#define AUTODIST_PASSES_STATEFUL_NAME_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/platform/hash.h"

namespace autodist {

// A name for a new node in place of `replaced`: the same for the same `contents`, else another.
// TensorFlow keeps kernels of stateful ops by name for the life of a session. So nodes that differ
// must not share a name: feeding a value changes what is pinned, and the run decides what is
// restored.
inline std::string StatefulName(const tensorflow::Node& replaced, absl::string_view what,
                                const std::string& contents) {
  return absl::StrCat(replaced.name(), "/autodist_", what, "_",
                      absl::Hex(tensorflow::Hash64(contents), absl::kZeroPad16));
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_STATEFUL_NAME_H_
