// What the edges of a node say.

#ifndef AUTODIST_PASSES_NODE_EDGES_H_
#define AUTODIST_PASSES_NODE_EDGES_H_

#include "tensorflow/core/graph/graph.h"

namespace autodist {

// Whether `node` runs only after ops that it takes nothing from.
inline bool WaitsForOthers(const tensorflow::Node& node) {
  for (const tensorflow::Edge* edge : node.in_edges()) {
    if (edge->IsControlEdge() && !edge->src()->IsSource()) return true;
  }
  return false;
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_NODE_EDGES_H_
