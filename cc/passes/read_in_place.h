// Which variables the ops of a processor read and write where they are.

#ifndef AUTODIST_PASSES_READ_IN_PLACE_H_
#define AUTODIST_PASSES_READ_IN_PLACE_H_

#include <cstdlib>
#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "passes/node_attr.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/util/device_name_utils.h"

namespace autodist {

// The types of devices whose memory our ops copy block by block: those that AUTODIST_ACCELERATORS
// lists, with commas between them, else GPUs. Python has the same rule (tf_nodes/device_memory.py).
inline bool IsAccelerator(absl::string_view type) {
  const char* const listed = std::getenv("AUTODIST_ACCELERATORS");
  for (const absl::string_view one : absl::StrSplit(listed == nullptr ? "GPU" : listed, ',')) {
    if (!one.empty() && one == type) return true;
  }
  return false;
}

// Whether ops on the processor of `user` read and write the variable of `node` in place. `node`
// reads or assigns it on its device. Both are placed.
inline bool IsReadInPlace(const tensorflow::Node& user, const tensorflow::Node& node) {
  using tensorflow::DeviceNameUtils;
  DeviceNameUtils::ParsedName from, at;
  if (!DeviceNameUtils::ParseFullName(user.assigned_device_name(), &from) ||
      !DeviceNameUtils::ParseFullName(node.assigned_device_name(), &at) ||
      !DeviceNameUtils::IsSameAddressSpace(from, at)) {
    return false;
  }
  if (at.type == tensorflow::DEVICE_CPU) return true;
  const auto dtype = AttrOr(node, "dtype", tensorflow::DT_INVALID);
  return IsAccelerator(at.type) && tensorflow::DataTypeCanUseMemcpy(dtype);
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_READ_IN_PLACE_H_
