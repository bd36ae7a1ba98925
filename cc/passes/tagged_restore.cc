// A RestoreV2 node that asks to be replaced, and what its private attributes say.

#include "passes/tagged_restore.h"

#include "passes/node_attr.h"

namespace autodist {

bool IsTaggedRestore(const tensorflow::Node& node) {
  return node.type_string() == "RestoreV2" && AttrOr(node, "_autodist_restore", false);
}

RestoreTag ReadRestoreTag(const tensorflow::Node& node) {
  return {AttrOr<std::string>(node, "_autodist_verify", "before"),
          AttrOr<int32_t>(node, "_autodist_threads", 0)};
}

}  // namespace autodist
