// Names of files that are being written: recognised as ours, and told apart by the kernel that runs
// their saver.
//
//   m.data.autodist3f2a91c0-5be1d20c77aa
//                  boot id  random

#ifndef AUTODIST_STORAGE_TEMPORARY_NAME_H_
#define AUTODIST_STORAGE_TEMPORARY_NAME_H_

#include <string>

#include "absl/strings/string_view.h"

namespace autodist {

// A new temporary name for the file `name`.
std::string TemporaryName(absl::string_view name);

// The beginning of `name`, cut off so that a suffix of so many bytes fits where `name` fits. All of
// `name`, unless it is long.
absl::string_view ShortenedFor(absl::string_view name, size_t suffix_size);

// Whether `name` is one TemporaryName() makes, on any machine.
bool IsTemporaryName(absl::string_view name);

// Whether the name was made on this kernel since it was started. REQUIRES: IsTemporaryName(name).
bool IsOfThisBoot(absl::string_view name);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_TEMPORARY_NAME_H_
