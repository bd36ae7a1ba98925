// The index entries of what a save has written.

#include "save/commit/index_entries.h"

#include "tables/bytes/masked_crc.h"
#include "tensorflow/core/util/saved_tensor_slice_util.h"

namespace autodist {
namespace {

tensorflow::TensorShapeProto ShapeProto(const Dims& dims) {
  tensorflow::TensorShapeProto proto;
  for (int64_t dim : dims) proto.add_dim()->set_size(dim);
  return proto;
}

}  // namespace

std::map<std::string, tensorflow::BundleEntryProto> IndexEntries(
    const SavePlan& plan, const std::vector<Extent>& extents, const std::vector<uint32_t>& crcs) {
  std::map<std::string, tensorflow::BundleEntryProto> entries;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    std::string key = planned.name;
    if (planned.slice_of.has_value()) {
      tensorflow::BundleEntryProto& full = entries[planned.name];
      full.set_dtype(planned.dtype);
      *full.mutable_shape() = ShapeProto(planned.slice_of->full_shape);
      planned.slice_of->slice.AsProto(full.add_slices());
      key = tensorflow::checkpoint::EncodeTensorNameSlice(planned.name, planned.slice_of->slice);
    }
    tensorflow::BundleEntryProto& entry = entries[key];
    entry.set_dtype(planned.dtype);
    *entry.mutable_shape() = ShapeProto(planned.shape);
    entry.set_offset(extents[i].offset);
    entry.set_size(extents[i].size_bytes);
    entry.set_crc32c(MaskCrc(crcs[i]));
  }
  return entries;
}

}  // namespace autodist
