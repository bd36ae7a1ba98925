// A SaveV2 node that asks to be replaced, and what its private attributes say.
//
// The attributes are set on stock nodes by autodist's Saver; stock TensorFlow ignores attributes
// that begin with an underscore.

#ifndef AUTODIST_PASSES_TAGGED_SAVE_H_
#define AUTODIST_PASSES_TAGGED_SAVE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tensorflow/core/graph/graph.h"

namespace autodist {

// The inputs of SaveV2 before its tensors: prefix, tensor_names, shape_and_slices.
inline constexpr int kSaveV2FixedInputs = 3;

struct SaveTag {
  std::string layout;                     // _autodist_layout
  std::string lock;                       // _autodist_lock
  int threads;                            // _autodist_threads
  bool durable;                           // _autodist_durable
  std::vector<std::string> aggregations;  // _autodist_aggregations, one per tensor
};

// Whether `node` is a SaveV2 with a true _autodist_save whose values AutodistSave can write.
bool IsTaggedSave(const tensorflow::Node& node);

// REQUIRES: IsTaggedSave(node). InvalidArgument if there is not one aggregation per tensor.
absl::StatusOr<SaveTag> ReadSaveTag(const tensorflow::Node& node);

}  // namespace autodist

#endif  // AUTODIST_PASSES_TAGGED_SAVE_H_
