// The index entries of what a save has written.

#include "save/commit/index_entries.h"

#include <algorithm>
#include <utility>

#include "tables/bytes/masked_crc.h"
#include "tensorflow/core/util/saved_tensor_slice_util.h"

namespace autodist {
namespace {

tensorflow::TensorShapeProto ShapeProto(const Dims& dims) {
  tensorflow::TensorShapeProto proto;
  for (int64_t dim : dims) proto.add_dim()->set_size(dim);
  return proto;
}

// An entry of the index, before it is made.
struct Item {
  std::string slice_key;  // of a slice; else the key is the variable's name
  size_t tensor;          // in the plan; of a variable of slices the first
  bool lists_slices;      // the entry of the variable, which has no bytes

  absl::string_view KeyIn(const SavePlan& plan) const {
    return slice_key.empty() ? absl::string_view(plan.tensors[tensor].name) : slice_key;
  }
};

// The items in the order of their keys. The slices of a variable come one after the other in a
// plan.
std::vector<Item> ItemsOf(const SavePlan& plan) {
  std::vector<Item> items;
  items.reserve(plan.tensors.size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    if (planned.slice_of == nullptr) {
      items.push_back({"", i, false});
      continue;
    }
    if (i == 0 || plan.tensors[i - 1].name != planned.name) items.push_back({"", i, true});
    items.push_back(
        {tensorflow::checkpoint::EncodeTensorNameSlice(planned.name, planned.slice_of->slice), i,
         false});
  }
  std::sort(items.begin(), items.end(),
            [&plan](const Item& a, const Item& b) { return a.KeyIn(plan) < b.KeyIn(plan); });
  return items;
}

tensorflow::BundleEntryProto EntryOfSlices(const SavePlan& plan, size_t first) {
  const PlannedTensor& planned = plan.tensors[first];
  tensorflow::BundleEntryProto entry;
  entry.set_dtype(planned.dtype);
  *entry.mutable_shape() = ShapeProto(planned.slice_of->full_shape);
  for (size_t i = first; i < plan.tensors.size() && plan.tensors[i].name == planned.name; ++i) {
    plan.tensors[i].slice_of->slice.AsProto(entry.add_slices());
  }
  return entry;
}

}  // namespace

void VisitIndexEntries(const SavePlan& plan, const std::vector<Extent>& extents,
                       const std::vector<uint32_t>& crcs, const IndexEntryVisitor& visit) {
  for (const Item& item : ItemsOf(plan)) {
    if (item.lists_slices) {
      visit(item.KeyIn(plan), EntryOfSlices(plan, item.tensor));
      continue;
    }
    const PlannedTensor& planned = plan.tensors[item.tensor];
    tensorflow::BundleEntryProto entry;
    entry.set_dtype(planned.dtype);
    *entry.mutable_shape() = ShapeProto(planned.shape);
    entry.set_offset(extents[item.tensor].offset);
    entry.set_size(extents[item.tensor].size_bytes);
    entry.set_crc32c(MaskCrc(crcs[item.tensor]));
    visit(item.KeyIn(plan), std::move(entry));
  }
}

std::map<std::string, tensorflow::BundleEntryProto> IndexEntries(
    const SavePlan& plan, const std::vector<Extent>& extents, const std::vector<uint32_t>& crcs) {
  std::map<std::string, tensorflow::BundleEntryProto> entries;
  VisitIndexEntries(plan, extents, crcs,
                    [&](absl::string_view key, tensorflow::BundleEntryProto entry) {
                      entries.emplace_hint(entries.end(), key, std::move(entry));
                    });
  return entries;
}

}  // namespace autodist
