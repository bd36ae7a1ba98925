// Finds the variable behind a value in a placed graph.

#include "passes/variable_read.h"

#include "passes/read_in_place.h"

namespace autodist {
namespace {

using tensorflow::Edge;
using tensorflow::Node;

// Whether `taken` is all that goes on from its source, but for control edges to `reader`. Another
// edge of data may lead to an update of the variable, which must not come before the read. It may
// also lead to something that needs the saved value itself: a fetch, a send, a second entry. A
// control edge to another op says that the op runs after the read.
bool IsForReaderOnly(const Edge& taken, const Node* reader) {
  for (const Edge* edge : taken.src()->out_edges()) {
    if (edge == &taken || edge->dst()->IsSink()) continue;
    if (!edge->IsControlEdge() || edge->dst() != reader) return false;
  }
  return true;
}

void AddControlInputs(const Node& node, VariableRead* read) {
  for (const Edge* edge : node.in_edges()) {
    if (!edge->IsControlEdge() || edge->src()->IsSource()) continue;
    // Stock's save reads a slice without a copy: it switches copy-on-read off first. Updates in
    // place then reach a buffer that is being read (TensorFlow 2.21, read_value_no_copy).
    if (edge->src()->type_string() == "DisableCopyOnRead") {
      read->preparations.push_back(edge->src());
      AddControlInputs(*edge->src(), read);
    } else {
      read->before.push_back(edge->src());
    }
  }
}

}  // namespace

std::optional<VariableRead> FindVariableRead(const Edge& edge) {
  VariableRead read;
  const Edge* input = &edge;
  while (true) {
    Node* node = input->src();
    const bool is_read = node->type_string() == "ReadVariableOp";
    if ((!is_read && node->type_string() != "Identity") || !IsForReaderOnly(*input, edge.dst()) ||
        !node->input_edge(0, &input).ok()) {
      return std::nullopt;
    }
    read.nodes.push_back(node);
    AddControlInputs(*node, &read);
    if (!is_read) continue;
    if (!IsReadInPlace(*edge.dst(), *node)) return std::nullopt;
    read.handle = tensorflow::OutputTensor(input->src(), input->src_output());
    read.device = node->assigned_device_name();
    return read;
  }
}

}  // namespace autodist
