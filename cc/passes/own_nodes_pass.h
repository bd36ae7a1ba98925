// Graph passes that replace the nodes of the process that runs the pass: there this library is
// certain to be loaded.
//
// The process of a session's client sees the graph before it is partitioned, with the variables on
// all of its devices. The process of any other task sees the partitions that it is given.

#ifndef AUTODIST_PASSES_OWN_NODES_PASS_H_
#define AUTODIST_PASSES_OWN_NODES_PASS_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/common_runtime/device.h"
#include "tensorflow/core/common_runtime/device_set.h"
#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "tensorflow/core/graph/algorithm.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/util/device_name_utils.h"

namespace autodist {

using IsOurs = std::function<bool(const tensorflow::Node&)>;

// Replaces the nodes of a graph for which the predicate holds.
using ReplaceNodes = absl::Status (*)(tensorflow::Graph* graph, const IsOurs& is_ours);

// Makes a `Replacement` of each of `all`, and runs it.
template <typename Replacement, typename Nodes>
absl::Status RunReplacements(tensorflow::Graph* graph, std::vector<Nodes> all) {
  for (Nodes& nodes : all) {
    absl::Status status = Replacement(graph, std::move(nodes)).Run();
    if (!status.ok()) return status;
  }
  if (!all.empty()) tensorflow::FixupSourceAndSinkEdges(graph);
  return absl::OkStatus();
}

// For POST_REWRITE_FOR_EXEC.
template <ReplaceNodes kReplace>
class ClientNodesPass : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(const tensorflow::GraphOptimizationPassOptions& options) override {
    if (options.is_function_graph || options.graph == nullptr || options.device_set == nullptr) {
      return absl::OkStatus();
    }
    const tensorflow::Device* client = options.device_set->client_device();
    if (client == nullptr) return absl::OkStatus();
    return kReplace(options.graph->get(), [client](const tensorflow::Node& node) {
      return tensorflow::DeviceNameUtils::IsSameAddressSpace(client->name(),
                                                             node.assigned_device_name());
    });
  }
};

// For POST_PARTITIONING.
template <ReplaceNodes kReplace>
class TaskNodesPass : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(const tensorflow::GraphOptimizationPassOptions& options) override {
    if (options.is_function_graph || options.partition_graphs == nullptr) return absl::OkStatus();
    for (auto& [device, graph] : *options.partition_graphs) {
      absl::Status status = kReplace(graph.get(), [](const tensorflow::Node&) { return true; });
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
};

// Registers both passes that replace nodes by `kReplace`.
//
// `phase` orders the passes of a stage. Ours run late: what others fold away need not be traced.
template <ReplaceNodes kReplace>
class RegisteredReplacement {
 public:
  RegisteredReplacement(int phase, const char* name)
      : client_(tensorflow::OptimizationPassRegistry::POST_REWRITE_FOR_EXEC, phase,
                std::make_unique<ClientNodesPass<kReplace>>(), name),
        task_(tensorflow::OptimizationPassRegistry::POST_PARTITIONING, phase,
              std::make_unique<TaskNodesPass<kReplace>>(), name) {}

 private:
  tensorflow::optimization_registration::OptimizationPassRegistration client_, task_;
};

}  // namespace autodist

#endif  // AUTODIST_PASSES_OWN_NODES_PASS_H_
