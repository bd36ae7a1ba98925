// A graph pass: tagged SaveV2 nodes become AutodistSave, in the runtime's own copy of a graph.
//
//   VarHandleOp -> ReadVariableOp -> Identity -> SaveV2             AutodistPinNamedVariables
//                                   Variable  ----^     becomes                    v
//                                                                      AutodistReferenceVariables
//                                                                                  v
//                                                                 Variable -> AutodistSave
//
// The graph that users and exporters see keeps its SaveV2; a process without this library runs
// that. Each process replaces its own nodes, because only there the library is certain to be
// loaded. The process of a session's client does so before the graph is partitioned, when it sees
// the variables on all of its devices. The process of any other task does so when it is given its
// partitions.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "passes/own_nodes_pass.h"
#include "passes/pins.h"
#include "passes/stateful_name.h"
#include "passes/strings_node.h"
#include "passes/tagged_save.h"
#include "passes/variable_read.h"
#include "tensorflow/core/graph/node_builder.h"

namespace autodist {
namespace {

using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeBuilder;

// The variables of one device that a save reads in place.
struct SavedPin {
  PinnedHandles pinned;
  std::set<Node*> before;
};

// Replaces one node.
class SaveReplacement {
 public:
  SaveReplacement(Graph* graph, Node* save) : graph_(*graph), save_(save) {}

  absl::Status Run() {
    absl::StatusOr<SaveTag> tag = ReadSaveTag(*save_);
    if (!tag.ok()) return tag.status();
    absl::Status status = save_->input_edges(&inputs_);
    if (!status.ok()) return status;
    SortValues();
    return Build(*tag);
  }

 private:
  // The place of a value: among the variables of a device, or among the tensors where `device` is
  // empty.
  struct Place {
    std::string device;
    int64_t index;
  };

  void SortValues() {
    for (size_t i = kSaveV2FixedInputs; i < inputs_.size(); ++i) {
      const Edge& edge = *inputs_[i];
      std::optional<VariableRead> read = FindVariableRead(edge);
      if (!read.has_value()) {
        places_.push_back({"", static_cast<int64_t>(tensors_.size())});
        tensors_.emplace_back(edge.src(), edge.src_output());
        continue;
      }
      SavedPin& pin = pins_[read->device];
      places_.push_back({read->device, static_cast<int64_t>(pin.pinned.handles.size())});
      pin.pinned.handles.emplace_back(read->handle);
      pin.before.insert(read->before.begin(), read->before.end());
      replaced_.insert(replaced_.end(), read->nodes.begin(), read->nodes.end());
      replaced_.insert(replaced_.end(), read->preparations.begin(), read->preparations.end());
    }
  }

  std::vector<int64_t> ValueIndex() const {
    std::map<std::string, int64_t> first;
    int64_t count = 0;
    for (const auto& [device, pin] : pins_) {
      first[device] = count;
      count += pin.pinned.handles.size();
    }
    first[""] = count;
    std::vector<int64_t> index;
    for (const Place& place : places_) index.push_back(first[place.device] + place.index);
    return index;
  }

  // What takes all variables at one instant, or nothing.
  absl::Status AddVariables(std::vector<NodeBuilder::NodeOut>* variables) {
    if (pins_.empty()) return absl::OkStatus();
    std::vector<NodeBuilder::NodeOut> pins;
    std::string contents;
    for (auto& [device, pin] : pins_) {
      pin.pinned.device = device;
      pin.pinned.before.assign(pin.before.begin(), pin.before.end());
      Node* node;
      absl::Status status = AddPins(&graph_, *save_, "pins", pin.pinned, &node, &replaced_);
      if (!status.ok()) return status;
      absl::StrAppend(&contents, device, " ", pin.pinned.handles.size(), " ");
      pins.emplace_back(node, 0);
    }
    Node* node;
    absl::Status status =
        NodeBuilder(StatefulName(*save_, "references", contents), "AutodistReferenceVariables")
            .Input(pins)
            .Input(inputs_[0]->src(), inputs_[0]->src_output())
            .Device(save_->requested_device())
            .AssignedDevice(save_->assigned_device_name())
            .Finalize(&graph_, &node);
    if (status.ok()) variables->emplace_back(node, 0);
    return status;
  }

  absl::Status Build(const SaveTag& tag) {
    std::vector<NodeBuilder::NodeOut> variables;
    absl::Status status = AddVariables(&variables);
    if (!status.ok()) return status;
    Node* aggregations;
    status = AddStrings(&graph_, *save_, "autodist_aggregations", tag.aggregations,
                        inputs_[1]->src(), &aggregations);
    if (!status.ok()) return status;

    const std::vector<int64_t> value_index = ValueIndex();
    std::vector<Node*> before;
    for (const Edge* edge : save_->in_edges()) {
      if (edge->IsControlEdge() && !edge->src()->IsSource()) before.push_back(edge->src());
    }
    const std::string contents = absl::StrCat(
        variables.size(), " ", absl::StrJoin(value_index, ","), " ", tag.layout, " ", tag.lock, " ",
        tag.threads, " ", tag.durable, " ", tensorflow::DataTypeVectorString(InputTypes()));
    Node* node;
    status = NodeBuilder(StatefulName(*save_, "save", contents), "AutodistSave")
                 .Input(inputs_[0]->src(), inputs_[0]->src_output())
                 .Input(inputs_[1]->src(), inputs_[1]->src_output())
                 .Input(inputs_[2]->src(), inputs_[2]->src_output())
                 .Input(aggregations, 0)
                 .Input(variables)
                 .Input(tensors_)
                 .ControlInputs(before)
                 .Attr("value_index", value_index)
                 .Attr("layout", tag.layout)
                 .Attr("lock", tag.lock)
                 .Attr("threads", tag.threads)
                 .Attr("durable", tag.durable)
                 .Device(save_->requested_device())
                 .AssignedDevice(save_->assigned_device_name())
                 .Finalize(&graph_, &node);
    if (!status.ok()) return status;
    for (const Edge* edge : save_->out_edges()) {
      if (!edge->dst()->IsSink()) graph_.AddControlEdge(node, edge->dst());
    }
    graph_.RemoveNode(save_);
    RemoveUnused(&graph_, replaced_);
    return absl::OkStatus();
  }

  tensorflow::DataTypeVector InputTypes() const {
    tensorflow::DataTypeVector types;
    for (const NodeBuilder::NodeOut& tensor : tensors_) types.push_back(tensor.dt);
    return types;
  }

  Graph& graph_;
  Node* const save_;
  std::vector<const Edge*> inputs_;
  std::vector<Place> places_;             // one per value of the save
  std::map<std::string, SavedPin> pins_;  // by device
  std::vector<NodeBuilder::NodeOut> tensors_;
  std::vector<Node*> replaced_;  // reads, then handles; consumers first, with repetitions
};

// Replaces the tagged saves for which `is_ours` holds.
absl::Status ReplaceSaves(Graph* graph, const IsOurs& is_ours) {
  std::vector<Node*> saves;
  for (Node* node : graph->op_nodes()) {
    if (IsTaggedSave(*node) && is_ours(*node)) saves.push_back(node);
  }
  return RunReplacements<SaveReplacement>(graph, std::move(saves));
}

const RegisteredReplacement<ReplaceSaves> kReplaceSaves(100, "ReplaceSaves");

}  // namespace
}  // namespace autodist
