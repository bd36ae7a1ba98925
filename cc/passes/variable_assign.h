// Finds the variable that a restored value is assigned to, in a placed graph.

#ifndef AUTODIST_PASSES_VARIABLE_ASSIGN_H_
#define AUTODIST_PASSES_VARIABLE_ASSIGN_H_

#include <optional>
#include <string>
#include <vector>

#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/graph/graph.h"

namespace autodist {

// AssignVariableOp(handle, Identity*(an edge's value)).
struct VariableAssign {
  tensorflow::OutputTensor handle;
  std::string device;                    // of the variable
  std::vector<tensorflow::Node*> nodes;  // the identities and the assignment, from the value on
  tensorflow::PartialTensorShape shape;  // of the variable in the graph
  bool validate_shape;
};

// The assignment of `edge`'s value. It must be the only use of the value and wait for nothing else.
// Its variable must be one that the source writes in place (read_in_place.h).
std::optional<VariableAssign> FindVariableAssign(const tensorflow::Edge& edge);

// The static shape of the ref variable that `edge`'s value is assigned to, if it must have that.
tensorflow::PartialTensorShape RefVariableShape(const tensorflow::Edge& edge);

}  // namespace autodist

#endif  // AUTODIST_PASSES_VARIABLE_ASSIGN_H_
