// Names of files that are being written: recognised as ours, and told apart by the kernel that runs
// their saver. The header has the form.

#include "storage/temporary_name.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tsl/platform/random.h"

namespace autodist {
namespace {

constexpr absl::string_view kMark = ".autodist";
constexpr size_t kBootDigits = 8;
constexpr size_t kRandomDigits = 12;
// Names of so many bytes fit into every file system.
constexpr size_t kAlwaysFits = 128;
constexpr size_t kSuffixSize = kMark.size() + kBootDigits + 1 + kRandomDigits;

bool IsHexadecimal(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string ReadShortBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id(kBootDigits, '0');
  file.read(id.data(), kBootDigits);
  // Where the kernel does not tell, nothing is known to be of this boot.
  return file && IsHexadecimal(id) ? id : std::string(kBootDigits, '0');
}

const std::string& BootId() {
  static const std::string* const id = new std::string(ReadShortBootId());
  return *id;
}

}  // namespace

std::string TemporaryName(absl::string_view name) {
  const std::string random = absl::StrCat(absl::Hex(tsl::random::New64(), absl::kZeroPad16));
  return absl::StrCat(ShortenedFor(name, kSuffixSize), kMark, BootId(), "-",
                      random.substr(0, kRandomDigits));
}

absl::string_view ShortenedFor(absl::string_view name, size_t suffix_size) {
  const size_t most = std::max(name.size(), kAlwaysFits);
  if (name.size() + suffix_size <= most) return name;
  size_t size = most - suffix_size;
  // Not within a character of UTF-8, which some file systems insist on.
  while (size > 0 && (name[size] & 0xC0) == 0x80) --size;
  return name.substr(0, size);
}

bool IsTemporaryName(absl::string_view name) {
  if (name.size() <= kSuffixSize) return false;
  const absl::string_view suffix = name.substr(name.size() - kSuffixSize);
  return suffix.substr(0, kMark.size()) == kMark &&
         IsHexadecimal(suffix.substr(kMark.size(), kBootDigits)) &&
         suffix[kMark.size() + kBootDigits] == '-' &&
         IsHexadecimal(suffix.substr(kMark.size() + kBootDigits + 1));
}

bool IsOfThisBoot(absl::string_view name) {
  const absl::string_view boot =
      name.substr(name.size() - kRandomDigits - 1 - kBootDigits, kBootDigits);
  return boot == BootId() && boot.find_first_not_of('0') != absl::string_view::npos;
}

}  // namespace autodist
