// Attributes that a node may lack.

#ifndef AUTODIST_PASSES_NODE_ATTR_H_
#define AUTODIST_PASSES_NODE_ATTR_H_

#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/graph.h"

namespace autodist {

// The value of an attribute, or `value` where it is absent or of another type.
template <typename Value>
Value AttrOr(const tensorflow::Node& node, const char* attr, Value value) {
  Value found{};
  if (tensorflow::GetNodeAttr(node.attrs(), attr, &found).ok()) return found;
  return value;
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_NODE_ATTR_H_
