// Finds the variable behind a value in a placed graph.

#ifndef AUTODIST_PASSES_VARIABLE_READ_H_
#define AUTODIST_PASSES_VARIABLE_READ_H_

#include <optional>
#include <string>
#include <vector>

#include "tensorflow/core/graph/graph.h"

namespace autodist {

// An edge's value is Identity*(ReadVariableOp(handle)).
struct VariableRead {
  tensorflow::OutputTensor handle;
  std::string device;                     // of the read, and so of the variable
  std::vector<tensorflow::Node*> nodes;   // the identities and the read, from the value backwards
  std::vector<tensorflow::Node*> before;  // what must run before the read
  // Ops that prepare the variable for stock TensorFlow's read in place. They must not run for any
  // other read.
  std::vector<tensorflow::Node*> preparations;
};

// The read behind `edge`. The variable must be one that the target reads in place
// (read_in_place.h). The read must be for that target alone: nothing else takes its value or waits
// for it. Then the target may read the variable itself, at any time after `before`.
std::optional<VariableRead> FindVariableRead(const tensorflow::Edge& edge);

}  // namespace autodist

#endif  // AUTODIST_PASSES_VARIABLE_READ_H_
