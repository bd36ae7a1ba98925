#include "system_memory/available_memory.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "core/testing/testing.h"

namespace autodist {
namespace {

// A /proc and a /sys/fs/cgroup of our own.
class Files {
 public:
  Files() {
    std::string name = (std::filesystem::temp_directory_path() / "autodist_XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~Files() { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path whole = std::filesystem::path(root_) / path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }

  int64_t Available() const { return AvailableMemory(root_ + "/proc", root_ + "/cgroup"); }

 private:
  std::string root_;
};

TEST(TheMachineBindsWhereNoCgroupDoes) {
  Files files;
  EXPECT_EQ(files.Available(), std::numeric_limits<int64_t>::max());
  files.Write("proc/meminfo", "MemTotal:  9000 kB\nMemAvailable:    1000 kB\n");
  EXPECT_EQ(files.Available(), 1024000);
  files.Write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(files.Available(), 1024000);
  files.Write("cgroup/memory.max", "max\n");
  files.Write("cgroup/memory.current", "77\n");
  EXPECT_EQ(files.Available(), 1024000);
}

TEST(ALimitBindsFromAnyHeight) {
  Files files;
  files.Write("proc/self/cgroup", "0::/a/b\n");
  files.Write("cgroup/a/memory.max", "5000\n");
  files.Write("cgroup/a/memory.current", "3000\n");
  files.Write("cgroup/a/memory.stat", "anon 9\ninactive_file 500\n");
  files.Write("cgroup/a/b/memory.max", "9000\n");
  files.Write("cgroup/a/b/memory.current", "10\n");
  EXPECT_EQ(files.Available(), 2500);
  files.Write("cgroup/a/b/memory.max", "20\n");
  EXPECT_EQ(files.Available(), 10);
  files.Write("cgroup/a/b/memory.max", "5\n");
  EXPECT_EQ(files.Available(), 0);
}

TEST(TheFirstVersionIsReadToo) {
  Files files;
  files.Write("proc/self/cgroup", "7:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/x\n");
  files.Write("cgroup/memory/docker/1/memory.limit_in_bytes", "9000\n");
  files.Write("cgroup/memory/docker/1/memory.usage_in_bytes", "8000\n");
  files.Write("cgroup/memory/docker/1/memory.stat", "inactive_file 1\ntotal_inactive_file 30\n");
  EXPECT_EQ(files.Available(), 1030);
  // The path is that of the host, and the container sees its own cgroup as the root.
  files.Write("proc/self/cgroup", "4:memory:/docker/2\n");
  files.Write("cgroup/memory/memory.limit_in_bytes", "700\n");
  files.Write("cgroup/memory/memory.usage_in_bytes", "600\n");
  EXPECT_EQ(files.Available(), 100);
}

TEST(ThisMachineSays) { EXPECT_TRUE(AvailableMemory() > 0); }

}  // namespace
}  // namespace autodist
