// The index entries of what a save has written.

#ifndef AUTODIST_SAVE_COMMIT_INDEX_ENTRIES_H_
#define AUTODIST_SAVE_COMMIT_INDEX_ENTRIES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "save/plan/file_plan.h"
#include "save/plan/save_plan.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"

namespace autodist {

using IndexEntryVisitor =
    std::function<void(absl::string_view key, tensorflow::BundleEntryProto entry)>;

// Visits the entries, in the order of their keys, that stock BundleWriter::Add and AddSlice make
// for the tensors of `plan`. The tensors lie at `extents` in the first data file and have these
// unmasked CRCs.
void VisitIndexEntries(const SavePlan& plan, const std::vector<Extent>& extents,
                       const std::vector<uint32_t>& crcs, const IndexEntryVisitor& visit);

// The same entries, all at a time, by key.
std::map<std::string, tensorflow::BundleEntryProto> IndexEntries(const SavePlan& plan,
                                                                 const std::vector<Extent>& extents,
                                                                 const std::vector<uint32_t>& crcs);

}  // namespace autodist

#endif  // AUTODIST_SAVE_COMMIT_INDEX_ENTRIES_H_
