// Names of the nodes that the passes add.

#ifndef AUTODIST_PASSES_STATEFUL_NAME_H_
#define AUTODIST_PASSES_STATEFUL_NAME_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/platform/hash.h"

namespace autodist {

// Returns a name for a new node in place of `replaced`. Nodes with the same `contents` get the same
// name, and others get different ones. TensorFlow keeps the kernel of a stateful op by its name for
// the life of a session, so nodes that differ must not share a name. And they do differ from run to
// run: a fed value changes which variables are pinned or restored.
inline std::string StatefulName(const tensorflow::Node& replaced, absl::string_view what,
                                const std::string& contents) {
  return absl::StrCat(replaced.name(), "/autodist_", what, "_",
                      absl::Hex(tensorflow::Hash64(contents), absl::kZeroPad16));
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_STATEFUL_NAME_H_
