// Nodes that pin variables, which the passes add.

#ifndef AUTODIST_PASSES_PINS_H_
#define AUTODIST_PASSES_PINS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/graph/node_builder.h"

namespace autodist {

// What pins are made of.
struct PinnedHandles {
  std::string device;  // of the variables
  std::vector<tensorflow::NodeBuilder::NodeOut> handles;
  std::vector<tensorflow::Node*> before;  // what must run before
  bool may_be_uninitialized = false;
};

// Adds the pins of some variables: by name where all handles are plain VarHandleOps, which then
// need not run; else by handle. `replaced` is the node in whose place the pins are, and `what`
// becomes part of their name.
//
// Handles that the pins do without are appended to `unused`.
absl::Status AddPins(tensorflow::Graph* graph, const tensorflow::Node& replaced,
                     absl::string_view what, const PinnedHandles& pinned, tensorflow::Node** pins,
                     std::vector<tensorflow::Node*>* unused);

// Removes those nodes whose outputs nothing uses, and that nothing waits for. Those that use come
// before what they use; a node may be there several times.
void RemoveUnused(tensorflow::Graph* graph, const std::vector<tensorflow::Node*>& nodes);

}  // namespace autodist

#endif  // AUTODIST_PASSES_PINS_H_
