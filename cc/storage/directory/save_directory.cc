// Chooses the kind of directory by the path's scheme.

#include "storage/directory/save_directory.h"

#include "absl/strings/str_cat.h"
#include "tensorflow/core/platform/path.h"

namespace autodist {

SplitPath::SplitPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t split = slash == std::string::npos ? 0 : slash + 1;
  start = path.substr(0, split);
  name = path.substr(split);
}

std::string SplitPath::directory() const {
  const size_t last = start.find_last_not_of('/');
  return last == std::string::npos ? start.substr(0, 1) : start.substr(0, last + 1);
}

std::string PosixPath(const std::string& path) {
  absl::string_view scheme, host, rest;
  tsl::io::ParseURI(path, &scheme, &host, &rest);
  if (!scheme.empty() && scheme != "file") return "";
  const SplitPath split{std::string(rest)};
  if (split.start.empty()) return split.name;
  const std::string directory = tsl::io::CleanPath(split.start);
  return absl::StrCat(directory, directory == "/" ? "" : "/", split.name);
}

absl::StatusOr<std::unique_ptr<SaveDirectory>> SaveDirectory::OpenParent(const std::string& path) {
  const std::string posix = PosixPath(path);
  return posix.empty() ? OpenEnvDirectory(SplitPath(path).start)
                       : OpenPosixDirectory(SplitPath(posix).directory());
}

}  // namespace autodist
