// The index entries of what a save has written.

#ifndef AUTODIST_SAVE_COMMIT_INDEX_ENTRIES_H_
#define AUTODIST_SAVE_COMMIT_INDEX_ENTRIES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "save/plan/file_plan.h"
#include "save/plan/save_plan.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"

namespace autodist {

// The entries, by key, that stock BundleWriter::Add and AddSlice make for the tensors of `plan`.
// The tensors lie at `extents` in the first data file and have these unmasked CRCs.
std::map<std::string, tensorflow::BundleEntryProto> IndexEntries(const SavePlan& plan,
                                                                 const std::vector<Extent>& extents,
                                                                 const std::vector<uint32_t>& crcs);

}  // namespace autodist

#endif  // AUTODIST_SAVE_COMMIT_INDEX_ENTRIES_H_
