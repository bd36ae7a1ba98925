// What of a prefix stands in a directory before a save, and which data files the save may write.

#include "save/commit/former_bundle.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "format/index/bundle_names.h"
#include "storage/temporary_name.h"

namespace autodist {
namespace {

bool IsDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Of at most five digits.
int NumberOf(absl::string_view digits) {
  int number = 0;
  for (char digit : digits) number = 10 * number + (digit - '0');
  return number;
}

constexpr absl::string_view kForm = ".data-00000-of-00000";

// The same of a directory that cannot be listed: the names are tried.
FormerBundle ProbeFormerBundle(SaveDirectory* directory, const std::string& name) {
  constexpr int kMostFiles = 64;
  FormerBundle former;
  former.has_index = directory->Exists(IndexName(name));
  for (int count = 1; former.has_index && count <= kMostFiles; ++count) {
    for (int number = 0; number < count; ++number) {
      std::string file = DataName(name, number, count);
      if (directory->Exists(file)) former.data_names.push_back(std::move(file));
    }
  }
  return former;
}

}  // namespace

bool IsDataFile(absl::string_view file, absl::string_view name) {
  if (file.size() != name.size() + kForm.size() || !absl::StartsWith(file, name)) return false;
  file.remove_prefix(name.size());
  return file.substr(0, 6) == kForm.substr(0, 6) && IsDigits(file.substr(6, 5)) &&
         file.substr(11, 4) == kForm.substr(11, 4) && IsDigits(file.substr(15));
}

int FileNumberOf(absl::string_view data_file) {
  return NumberOf(data_file.substr(data_file.size() - 14, 5));
}

int FileCountOf(absl::string_view data_file) {
  return NumberOf(data_file.substr(data_file.size() - 5));
}

int FormerBundle::ChooseFileCount(int least) const {
  if (!has_index) return least;
  std::set<int> taken;
  for (const std::string& file : data_names) taken.insert(FileCountOf(file));
  int count = least;
  while (taken.count(count) > 0) ++count;
  return count;
}

absl::StatusOr<FormerBundle> FindFormerBundle(SaveDirectory* directory, const std::string& name) {
  const auto names = directory->List();
  if (absl::IsPermissionDenied(names.status())) return ProbeFormerBundle(directory, name);
  if (!names.ok()) return names.status();
  const std::string index_name = IndexName(name);
  FormerBundle former;
  for (const std::string& file : *names) {
    if (file == index_name) former.has_index = true;
    if (IsDataFile(file, name)) former.data_names.push_back(file);
  }
  return former;
}

absl::Status RemoveAbandoned(SaveDirectory* directory) {
  if (!directory->can_rename()) return absl::OkStatus();
  const auto names = directory->List();
  if (absl::IsPermissionDenied(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  for (const std::string& file : *names) {
    if (IsTemporaryName(file)) directory->RemoveIfAbandoned(file);
  }
  return absl::OkStatus();
}

}  // namespace autodist
