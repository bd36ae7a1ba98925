// How much memory this process can take before the system, or its container, runs out of it.

#ifndef AUTODIST_SYSTEM_MEMORY_AVAILABLE_MEMORY_H_
#define AUTODIST_SYSTEM_MEMORY_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <string>

namespace autodist {

// Bytes. The largest number where the system does not say. Whoever takes more may be killed.
int64_t AvailableMemory();

// The same as files below `proc` ("/proc") and `cgroups` ("/sys/fs/cgroup") say it.
int64_t AvailableMemory(const std::string& proc, const std::string& cgroups);

}  // namespace autodist

#endif  // AUTODIST_SYSTEM_MEMORY_AVAILABLE_MEMORY_H_
