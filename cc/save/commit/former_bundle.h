// What of a prefix stands in a directory before a save, and which data files the save may write.

#ifndef AUTODIST_SAVE_COMMIT_FORMER_BUNDLE_H_
#define AUTODIST_SAVE_COMMIT_FORMER_BUNDLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/directory/save_directory.h"

namespace autodist {

struct FormerBundle {
  bool has_index = false;
  std::vector<std::string> data_names;

  // The least number of data files, `least` or more, of which none has a name that an index may
  // name.
  int ChooseFileCount(int least) const;
};

// `name` is the last part of the prefix.
absl::StatusOr<FormerBundle> FindFormerBundle(SaveDirectory* directory, const std::string& name);

// Whether `file` is a data file of the prefix `name`, of any number.
bool IsDataFile(absl::string_view file, absl::string_view name);

// REQUIRES: IsDataFile().
int FileNumberOf(absl::string_view data_file);
int FileCountOf(absl::string_view data_file);

// Removes what dead savers left in a directory; nothing where files have their names from the
// start.
absl::Status RemoveAbandoned(SaveDirectory* directory);

}  // namespace autodist

#endif  // AUTODIST_SAVE_COMMIT_FORMER_BUNDLE_H_
