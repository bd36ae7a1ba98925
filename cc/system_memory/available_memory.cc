// Linux reports the memory of the machine in /proc/meminfo, and that of each memory cgroup in three
// files. A limit also binds all cgroups below it, so the code reads those on the way up, too.

#include "system_memory/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// Returns the number that a file begins with; nullopt if it has none, such as "max".
std::optional<int64_t> NumberIn(const std::string& path) {
  std::ifstream file(path);
  int64_t number;
  if (file >> number) return number;
  return std::nullopt;
}

// Returns the number after `word`, from the line that begins with `word`.
std::optional<int64_t> NumberAfter(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string first;
    int64_t number;
    if (words >> first >> number && first == word) return number;
  }
  return std::nullopt;
}

// The names of these files in one version of cgroups.
struct Names {
  const char* limit;
  const char* usage;
  const char* cache;  // in memory.stat: what the kernel gives back before it runs out
};
constexpr Names kFirst = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr Names kSecond = {"memory.max", "memory.current", "inactive_file"};

int64_t AvailableIn(const std::string& directory, const Names& names) {
  const std::optional<int64_t> limit = NumberIn(absl::StrCat(directory, "/", names.limit));
  const std::optional<int64_t> usage = NumberIn(absl::StrCat(directory, "/", names.usage));
  if (!limit || !usage) return kUnknown;
  const int64_t cache =
      NumberAfter(absl::StrCat(directory, "/memory.stat"), names.cache).value_or(0);
  return std::max<int64_t>(*limit - *usage + cache, 0);
}

// Returns the least memory that is available in the cgroup of `path` and in those above it. In a
// container `path` may be "/" or not exist here. Then the root is the cgroup of the container.
int64_t AvailableAlong(const std::string& root, std::string path, const Names& names) {
  int64_t least = AvailableIn(root, names);
  while (path.size() > 1) {
    least = std::min(least, AvailableIn(root + path, names));
    path.resize(path.rfind('/'));
  }
  return least;
}

}  // namespace

int64_t AvailableMemory() { return AvailableMemory("/proc", "/sys/fs/cgroup"); }

int64_t AvailableMemory(const std::string& proc, const std::string& cgroups) {
  int64_t least = kUnknown;
  if (const auto free = NumberAfter(proc + "/meminfo", "MemAvailable:")) least = *free * 1024;
  std::ifstream file(proc + "/self/cgroup");
  std::string line;
  // "4:cpu,memory:/path", or "0::/path" of the second version.
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string kinds = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (kinds.find(",memory,") != std::string::npos) {
      least = std::min(least, AvailableAlong(cgroups + "/memory", path, kFirst));
    } else if (kinds == ",,") {
      least = std::min(least, AvailableAlong(cgroups, path, kSecond));
    }
  }
  return least;
}

}  // namespace autodist
