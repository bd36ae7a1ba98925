// A checkpoint whose files a fuzzer writes, and everything that can be done with one.
//
// Loaded values are compared with those that a loop over single elements finds in the same files. A
// wrong value counts as a crash. fuzz_bundle.cc is linked into each fuzzer.

#ifndef AUTODIST_FUZZ_FUZZ_BUNDLE_H_
#define AUTODIST_FUZZ_FUZZ_BUNDLE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "storage/testing/testing_directory.h"

namespace autodist::fuzz {

class FuzzBundle {
 public:
  void WriteIndex(absl::string_view bytes) const;
  void WriteData(absl::string_view bytes);

  // An index of one block with these entries (testing_table.h), its sums right.
  void WriteIndexOf(const std::string& entries) const;

  // Verifies the bundle, plans a restore of every tensor in it, whole and as `shape_and_slice`, and
  // loads what is planned. Aborts where a value is not what the files say, or where more memory is
  // asked for than they can fill.
  void LoadEverything(const std::string& shape_and_slice) const;

 private:
  const testing::TemporaryDirectory directory_;
  const std::string prefix_ = directory_.path() + "/model";
  std::string data_;
};

// Aborts with this text unless `holds`.
void Require(bool holds, const char* text);

}  // namespace autodist::fuzz

#endif  // AUTODIST_FUZZ_FUZZ_BUNDLE_H_
