// The names of a bundle's files. They are those of tensorflow/core/util/tensor_bundle/naming.h,
// whose functions end the process where there is no memory for a name.

#ifndef AUTODIST_FORMAT_INDEX_BUNDLE_NAMES_H_
#define AUTODIST_FORMAT_INDEX_BUNDLE_NAMES_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace autodist {

// "m.index"
inline std::string IndexName(absl::string_view prefix) { return absl::StrCat(prefix, ".index"); }

// "m.data-00000-of-00001"
inline std::string DataName(absl::string_view prefix, int number, int file_count) {
  return absl::StrCat(prefix, ".data-", absl::Dec(number, absl::kZeroPad5), "-of-",
                      absl::Dec(file_count, absl::kZeroPad5));
}

}  // namespace autodist

#endif  // AUTODIST_FORMAT_INDEX_BUNDLE_NAMES_H_
