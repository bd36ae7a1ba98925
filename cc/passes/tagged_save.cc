// A SaveV2 node that asks to be replaced, and what its private attributes say.

#include "passes/tagged_save.h"

#include "absl/strings/str_cat.h"
#include "passes/node_attr.h"

namespace autodist {

bool IsTaggedSave(const tensorflow::Node& node) {
  if (node.type_string() != "SaveV2" || !AttrOr(node, "_autodist_save", false)) return false;
  for (int i = kSaveV2FixedInputs; i < node.num_inputs(); ++i) {
    if (tensorflow::BaseType(node.input_type(i)) == tensorflow::DT_RESOURCE) return false;
  }
  return true;
}

absl::StatusOr<SaveTag> ReadSaveTag(const tensorflow::Node& node) {
  const size_t count = node.num_inputs() - kSaveV2FixedInputs;
  SaveTag tag;
  tag.layout = AttrOr<std::string>(node, "_autodist_layout", "original");
  tag.lock = AttrOr<std::string>(node, "_autodist_lock", "block");
  tag.threads = AttrOr<int32_t>(node, "_autodist_threads", 0);
  tag.durable = AttrOr(node, "_autodist_durable", true);
  if (node.attrs().Find("_autodist_aggregations") == nullptr) {
    tag.aggregations.assign(count, "MEAN");
    return tag;
  }
  tag.aggregations = AttrOr<std::vector<std::string>>(node, "_autodist_aggregations", {});
  if (tag.aggregations.size() != count) {
    return absl::InvalidArgumentError(absl::StrCat("node '", node.name(), "' saves ", count,
                                                   " tensors but has ", tag.aggregations.size(),
                                                   " _autodist_aggregations"));
  }
  return tag;
}

}  // namespace autodist
