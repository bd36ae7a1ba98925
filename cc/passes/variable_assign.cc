// Finds the variable that a restored value is assigned to, in a placed graph.

#include "passes/variable_assign.h"

#include "passes/node_attr.h"
#include "passes/node_edges.h"
#include "passes/read_in_place.h"

namespace autodist {
namespace {

using tensorflow::Edge;
using tensorflow::Node;

// The only edge on which the output of an identity goes on.
const Edge* OnlyDataEdge(const Node& node) {
  const Edge* only = nullptr;
  for (const Edge* edge : node.out_edges()) {
    if (edge->IsControlEdge()) continue;
    if (only != nullptr) return nullptr;
    only = edge;
  }
  return only;
}

}  // namespace

std::optional<VariableAssign> FindVariableAssign(const Edge& edge) {
  VariableAssign assign;
  const Edge* output = &edge;
  while (true) {
    Node* node = output->dst();
    if (WaitsForOthers(*node)) return std::nullopt;
    assign.nodes.push_back(node);
    if (node->type_string() == "Identity") {
      output = OnlyDataEdge(*node);
      if (output == nullptr) return std::nullopt;
      continue;
    }
    const Edge* handle;
    if (node->type_string() != "AssignVariableOp" || output->dst_input() != 1 ||
        !IsReadInPlace(*edge.src(), *node) || !node->input_edge(0, &handle).ok()) {
      return std::nullopt;
    }
    // A handle that is computed might depend on what is restored.
    if (handle->src()->num_inputs() > 0 || WaitsForOthers(*handle->src())) return std::nullopt;
    assign.handle = tensorflow::OutputTensor(handle->src(), handle->src_output());
    assign.device = node->assigned_device_name();
    assign.validate_shape = AttrOr(*node, "validate_shape", false);
    if (handle->src()->type_string() == "VarHandleOp") {
      assign.shape = AttrOr(*handle->src(), "shape", tensorflow::PartialTensorShape());
    }
    return assign;
  }
}

tensorflow::PartialTensorShape RefVariableShape(const Edge& edge) {
  const tensorflow::PartialTensorShape any;
  const Node& assign = *edge.dst();
  const Edge* variable;
  if (assign.type_string() != "Assign" || !AttrOr(assign, "validate_shape", true) ||
      !assign.input_edge(0, &variable).ok()) {
    return any;
  }
  const std::string& type = variable->src()->type_string();
  return type == "VariableV2" || type == "Variable" ? AttrOr(*variable->src(), "shape", any) : any;
}

}  // namespace autodist
