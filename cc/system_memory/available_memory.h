// How much memory this process can take before the system, or its container, runs out of it.

#ifndef AUTODIST_SYSTEM_MEMORY_AVAILABLE_MEMORY_H_
#define AUTODIST_SYSTEM_MEMORY_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <string>

namespace autodist {

// Returns bytes; the largest number if the system does not say. The kernel may kill a process that
// takes more.
int64_t AvailableMemory();

// The same, from the files below `proc` ("/proc") and `cgroups` ("/sys/fs/cgroup").
int64_t AvailableMemory(const std::string& proc, const std::string& cgroups);

}  // namespace autodist

#endif  // AUTODIST_SYSTEM_MEMORY_AVAILABLE_MEMORY_H_
