// What the edges and the device of a node say.

#ifndef AUTODIST_PASSES_NODE_EDGES_H_
#define AUTODIST_PASSES_NODE_EDGES_H_

#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/util/device_name_utils.h"

namespace autodist {

// Whether `node` runs only after ops that it takes nothing from.
inline bool WaitsForOthers(const tensorflow::Node& node) {
  for (const tensorflow::Edge* edge : node.in_edges()) {
    if (edge->IsControlEdge() && !edge->src()->IsSource()) return true;
  }
  return false;
}

// Whether `node` runs in the process of `on_cpu`, which runs on a CPU. Both are placed.
inline bool IsOnCpuOf(const tensorflow::Node& node, const tensorflow::Node& on_cpu) {
  using tensorflow::DeviceNameUtils;
  DeviceNameUtils::ParsedName device, cpu;
  return DeviceNameUtils::ParseFullName(node.assigned_device_name(), &device) &&
         DeviceNameUtils::ParseFullName(on_cpu.assigned_device_name(), &cpu) && cpu.type == "CPU" &&
         DeviceNameUtils::IsSameAddressSpace(device, cpu);
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_NODE_EDGES_H_
