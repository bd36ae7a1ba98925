// A graph pass: tagged RestoreV2 nodes become AutodistRestore, in the runtime's own copy of a
// graph.
//
//   RestoreV2 -> Identity -> AssignVariableOp <- VarHandleOp       AutodistPinNamedVariables
//           `--> Assign <- Variable                  becomes                  v
//                                                         Variable <- Assign <- AutodistRestore
//
// What is assigned to a resource variable is written there by the op itself; all else comes out of
// it as a tensor. Nodes of one prefix that wait for nothing become one op, so that a stored byte is
// read once however many nodes ask for it. As for saves, each process replaces its own nodes.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "passes/node_attr.h"
#include "passes/node_edges.h"
#include "passes/own_nodes_pass.h"
#include "passes/pins.h"
#include "passes/stateful_name.h"
#include "passes/strings_node.h"
#include "passes/tagged_restore.h"
#include "passes/variable_assign.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/graph/node_builder.h"

namespace autodist {
namespace {

using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeBuilder;
using tensorflow::Tensor;

// Inputs of RestoreV2.
constexpr int kPrefix = 0;
constexpr int kNames = 1;
constexpr int kSlices = 2;

// The variables of one device that a restore writes.
struct RestoredPin {
  PinnedHandles pinned;
  std::vector<int64_t> entries;
  std::vector<tensorflow::PartialTensorShape> shapes;
  std::vector<bool> validate_shapes;
};

std::optional<Tensor> ConstantInput(const Node& node, int input) {
  const Edge* edge;
  if (!node.input_edge(input, &edge).ok() || edge->src()->type_string() != "Const") {
    return std::nullopt;
  }
  return AttrOr(*edge->src(), "value", Tensor());
}

// Replaces some nodes by one.
class RestoreReplacement {
 public:
  // REQUIRES: one node, or several that IsFree() and that have one prefix, tag and device.
  RestoreReplacement(Graph* graph, std::vector<Node*> restores)
      : graph_(*graph), restores_(std::move(restores)), first_(*restores_[0]) {}

  absl::Status Run() {
    for (Node* restore : restores_) {
      SortOutputs(*restore);
      const tensorflow::DataTypeVector& dtypes = restore->output_types();
      dtypes_.insert(dtypes_.end(), dtypes.begin(), dtypes.end());
    }
    return Build();
  }

 private:
  void SortOutputs(const Node& restore) {
    const int64_t first_entry = dtypes_.size();
    // In the order of the outputs, so that the node made is the same every time.
    std::map<std::pair<int, int>, const Edge*> edges;
    for (const Edge* edge : restore.out_edges()) {
      if (!edge->IsControlEdge()) edges[{edge->src_output(), edge->id()}] = edge;
    }
    for (const auto& [key, edge] : edges) {
      const int64_t entry = first_entry + edge->src_output();
      std::optional<VariableAssign> assign = FindVariableAssign(*edge);
      if (!assign.has_value()) {
        const auto [output, is_new] =
            outputs_.emplace(entry, static_cast<int>(tensor_entries_.size()));
        if (is_new) {
          tensor_entries_.push_back(entry);
          tensor_shapes_.push_back(RefVariableShape(*edge));
        }
        consumers_.push_back({edge->dst(), edge->dst_input(), output->second});
        continue;
      }
      RestoredPin& pin = pins_[assign->device];
      pin.pinned.handles.emplace_back(assign->handle);
      pin.entries.push_back(entry);
      pin.shapes.push_back(assign->shape);
      pin.validate_shapes.push_back(assign->validate_shape);
      replaced_.insert(replaced_.end(), assign->nodes.begin(), assign->nodes.end());
    }
  }

  absl::Status Build() {
    std::vector<NodeBuilder::NodeOut> pins;
    std::vector<int64_t> variable_entries;
    std::vector<tensorflow::PartialTensorShape> shapes;
    std::vector<bool> validate_shapes;
    for (auto& [device, pin] : pins_) {
      pin.pinned.device = device;
      pin.pinned.may_be_uninitialized = true;
      Node* node;
      absl::Status status = AddPins(&graph_, first_, "restore_pins", pin.pinned, &node, &handles_);
      if (!status.ok()) return status;
      pins.emplace_back(node, 0);
      variable_entries.insert(variable_entries.end(), pin.entries.begin(), pin.entries.end());
      shapes.insert(shapes.end(), pin.shapes.begin(), pin.shapes.end());
      validate_shapes.insert(validate_shapes.end(), pin.validate_shapes.begin(),
                             pin.validate_shapes.end());
    }
    tensorflow::DataTypeVector tensor_types;
    for (int64_t entry : tensor_entries_) tensor_types.push_back(dtypes_[entry]);

    const RestoreTag tag = ReadRestoreTag(first_);
    std::string contents = absl::StrCat(
        tensorflow::DataTypeVectorString(dtypes_), " ", absl::StrJoin(variable_entries, ","), " ",
        absl::StrJoin(tensor_entries_, ","), " ", tag.verify, " ", tag.threads);
    for (const auto& [device, pin] : pins_) absl::StrAppend(&contents, " ", Identify(device, pin));
    std::vector<NodeBuilder::NodeOut> fixed;
    absl::Status status = FixedInputs(&fixed);
    if (!status.ok()) return status;
    Node* node;
    status = NodeBuilder(StatefulName(first_, "restore", contents), "AutodistRestore")
                 .Input(fixed[kPrefix])
                 .Input(fixed[kNames])
                 .Input(fixed[kSlices])
                 .Input(pins)
                 .ControlInputs(Before())
                 .Attr("dtypes", dtypes_)
                 .Attr("tensor_types", tensor_types)
                 .Attr("variable_entries", variable_entries)
                 .Attr("variable_shapes", shapes)
                 .Attr("validate_shapes", validate_shapes)
                 .Attr("tensor_entries", tensor_entries_)
                 .Attr("tensor_shapes", tensor_shapes_)
                 .Attr("verify", tag.verify)
                 .Attr("threads", tag.threads)
                 .Device(first_.requested_device())
                 .AssignedDevice(first_.assigned_device_name())
                 .Finalize(&graph_, &node);
    if (!status.ok()) return status;
    return Replace(node);
  }

  static std::string Identify(const std::string& device, const RestoredPin& pin) {
    std::string text = absl::StrCat(device, " ", absl::StrJoin(pin.entries, ","));
    for (const NodeBuilder::NodeOut& handle : pin.pinned.handles) {
      absl::StrAppend(&text, " ", handle.node->name(), ":", handle.index);
    }
    return text;
  }

  std::vector<Node*> Before() const {
    std::vector<Node*> before;
    for (const Node* restore : restores_) {
      for (const Edge* edge : restore->in_edges()) {
        if (edge->IsControlEdge() && !edge->src()->IsSource()) before.push_back(edge->src());
      }
    }
    return before;
  }

  // Prefix, names and slices; of several nodes the names and slices are joined.
  absl::Status FixedInputs(std::vector<NodeBuilder::NodeOut>* fixed) {
    for (int input : {kPrefix, kNames, kSlices}) {
      if (input != kPrefix && restores_.size() > 1) {
        Node* joined;
        absl::Status status = Joined(input, &joined);
        if (!status.ok()) return status;
        fixed->emplace_back(joined, 0);
        continue;
      }
      const Edge* edge;
      absl::Status status = first_.input_edge(input, &edge);
      if (!status.ok()) return status;
      fixed->emplace_back(edge->src(), edge->src_output());
    }
    return absl::OkStatus();
  }

  absl::Status Joined(int input, Node** node) {
    std::vector<std::string> strings;
    for (const Node* restore : restores_) {
      const Tensor value = *ConstantInput(*restore, input);
      const auto flat = value.flat<tensorflow::tstring>();
      strings.insert(strings.end(), flat.data(), flat.data() + flat.size());
    }
    return AddStrings(&graph_, first_, "autodist_joined", strings, nullptr, node);
  }

  absl::Status Replace(Node* node) {
    for (const Consumer& consumer : consumers_) {
      const absl::Status status =
          graph_.UpdateEdge(node, consumer.output, consumer.node, consumer.input);
      if (!status.ok()) return status;
    }
    std::set<Node*> removed(restores_.begin(), restores_.end());
    removed.insert(replaced_.begin(), replaced_.end());
    for (Node* old : removed) {
      for (const Edge* edge : old->out_edges()) {
        if (edge->IsControlEdge() && !edge->dst()->IsSink() && removed.count(edge->dst()) == 0) {
          graph_.AddControlEdge(node, edge->dst());
        }
      }
    }
    for (Node* old : removed) graph_.RemoveNode(old);
    RemoveUnused(&graph_, handles_);
    return absl::OkStatus();
  }

  // Takes output `output` of the new node at its input `input`.
  struct Consumer {
    Node* node;
    int input;
    int output;
  };

  Graph& graph_;
  const std::vector<Node*> restores_;
  const Node& first_;
  tensorflow::DataTypeVector dtypes_;
  std::map<std::string, RestoredPin> pins_;  // by device
  std::map<int64_t, int> outputs_;           // of the new node, by entry
  std::vector<int64_t> tensor_entries_;      // by output
  std::vector<tensorflow::PartialTensorShape> tensor_shapes_;
  std::vector<Consumer> consumers_;
  std::vector<Node*> replaced_;
  std::vector<Node*> handles_;  // that the pins do without
};

// Whether all inputs of `node` except the prefix are constants, and it waits for nothing. Such
// nodes can become one, since their order does not matter. An op made under control dependencies
// may also wait through its constants.
bool IsFree(const Node& node) {
  if (!ConstantInput(node, kNames).has_value() || !ConstantInput(node, kSlices).has_value() ||
      WaitsForOthers(node)) {
    return false;
  }
  for (const Edge* edge : node.in_edges()) {
    if (edge->src()->type_string() == "Const" && WaitsForOthers(*edge->src())) return false;
  }
  const Edge* prefix;
  return node.input_edge(kPrefix, &prefix).ok();
}

// Equal for free nodes that can be one.
std::string JoinKey(const Node& node) {
  const RestoreTag tag = ReadRestoreTag(node);
  std::string key = absl::StrCat(node.assigned_device_name(), " ", tag.verify, " ", tag.threads);
  const Edge* prefix;
  if (!node.input_edge(kPrefix, &prefix).ok()) return key;
  if (const std::optional<Tensor> value = ConstantInput(node, kPrefix)) {
    const tensorflow::tstring& text = value->flat<tensorflow::tstring>()(0);
    absl::StrAppend(&key, " = ", absl::string_view(text.data(), text.size()));
  } else {
    absl::StrAppend(&key, " : ", prefix->src()->id(), " ", prefix->src_output());
  }
  return key;
}

// Replaces the tagged restores for which `is_ours` holds.
absl::Status ReplaceRestores(Graph* graph, const IsOurs& is_ours) {
  std::map<std::string, std::vector<Node*>> free;
  std::vector<std::vector<Node*>> all;
  for (Node* node : graph->op_nodes()) {
    if (!IsTaggedRestore(*node) || !is_ours(*node)) continue;
    if (IsFree(*node)) {
      free[JoinKey(*node)].push_back(node);
    } else {
      all.push_back({node});
    }
  }
  for (auto& [key, nodes] : free) all.push_back(std::move(nodes));
  return RunReplacements<RestoreReplacement>(graph, std::move(all));
}

const RegisteredReplacement<ReplaceRestores> kReplaceRestores(101, "ReplaceRestores");

}  // namespace
}  // namespace autodist
