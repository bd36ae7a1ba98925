// Nodes that pin variables, which the passes add. The header tells how.

#include "passes/pins.h"

#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "passes/node_attr.h"
#include "passes/node_edges.h"
#include "passes/stateful_name.h"
#include "tensorflow/core/framework/resource_handle.h"

namespace autodist {
namespace {

using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeBuilder;

// The attributes that tell variables from each other.
struct Names {
  std::vector<std::string> containers;
  std::vector<std::string> names;
};

// The names of the variables, unless an op other than a VarHandleOp makes a handle, or one must run
// for another reason.
std::optional<Names> NamesOf(const std::vector<NodeBuilder::NodeOut>& handles) {
  Names all;
  all.containers.reserve(handles.size());
  all.names.reserve(handles.size());
  for (const NodeBuilder::NodeOut& handle : handles) {
    const Node& node = *handle.node;
    if (node.type_string() != "VarHandleOp" || WaitsForOthers(node)) return std::nullopt;
    all.containers.push_back(AttrOr<std::string>(node, "container", ""));
    std::string name = AttrOr<std::string>(node, "shared_name", "");
    // Of each run another variable.
    if (name == tensorflow::ResourceHandle::ANONYMOUS_NAME) return std::nullopt;
    all.names.push_back(std::move(name));
  }
  return all;
}

}  // namespace

absl::Status AddPins(Graph* graph, const Node& replaced, absl::string_view what,
                     const PinnedHandles& pinned, Node** pins, std::vector<Node*>* unused) {
  std::optional<Names> names = NamesOf(pinned.handles);
  std::string contents = absl::StrCat(pinned.device, " ", pinned.may_be_uninitialized);
  for (size_t i = 0; i < pinned.handles.size(); ++i) {
    if (names.has_value()) {
      absl::StrAppend(&contents, " ", names->containers[i].size(), ":", names->containers[i], " ",
                      names->names[i].size(), ":", names->names[i]);
    } else {
      absl::StrAppend(&contents, " ", pinned.handles[i].node->name(), ":", pinned.handles[i].index);
    }
  }
  NodeBuilder builder(StatefulName(replaced, what, contents),
                      names.has_value() ? "AutodistPinNamedVariables" : "AutodistPinVariables");
  if (names.has_value()) {
    builder.Attr("containers", names->containers).Attr("names", names->names);
    for (const NodeBuilder::NodeOut& handle : pinned.handles) unused->push_back(handle.node);
  } else {
    builder.Input(pinned.handles);
  }
  return builder.ControlInputs(pinned.before)
      .Attr("may_be_uninitialized", pinned.may_be_uninitialized)
      .Device(pinned.device)
      .AssignedDevice(pinned.device)
      .Finalize(graph, pins);
}

void RemoveUnused(Graph* graph, const std::vector<Node*>& nodes) {
  std::unordered_set<Node*> removed;
  for (Node* node : nodes) {
    if (removed.count(node) > 0) continue;
    bool is_used = false;
    for (const tensorflow::Edge* edge : node->out_edges()) {
      is_used = is_used || !edge->dst()->IsSink();
    }
    if (is_used) continue;
    removed.insert(node);
    graph->RemoveNode(node);
  }
}

}  // namespace autodist
