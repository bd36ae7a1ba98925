// Adds constants of strings to a graph, for the passes.

#ifndef AUTODIST_PASSES_STRINGS_NODE_H_
#define AUTODIST_PASSES_STRINGS_NODE_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/graph/node_builder.h"

namespace autodist {

// Adds a Const with a vector of strings, on the device of `user`. The caller will make it an input
// of `user`.
//
// `name` is appended to the name of `user`. If `user` is in a v1 loop, `before` must be a node of
// the same frame, and the constant waits for it. Otherwise `before` may be null.
inline absl::Status AddStrings(tensorflow::Graph* graph, const tensorflow::Node& user,
                               absl::string_view name, const std::vector<std::string>& strings,
                               tensorflow::Node* before, tensorflow::Node** node) {
  tensorflow::Tensor value(tensorflow::DT_STRING,
                           tensorflow::TensorShape({static_cast<int64_t>(strings.size())}));
  std::copy(strings.begin(), strings.end(), value.vec<tensorflow::tstring>().data());
  tensorflow::NodeBuilder builder(graph->NewName(absl::StrCat(user.name(), "/", name)), "Const");
  if (before != nullptr) builder.ControlInput(before);
  return builder.Attr("dtype", tensorflow::DT_STRING)
      .Attr("value", value)
      .Device(user.requested_device())
      .AssignedDevice(user.assigned_device_name())
      .Finalize(graph, node);
}

}  // namespace autodist

#endif  // AUTODIST_PASSES_STRINGS_NODE_H_
