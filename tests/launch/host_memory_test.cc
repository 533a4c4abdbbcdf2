#include "launch/host_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace lockstep::launch {
namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;

// A file system of a host with 8 GiB available.
class HostMemoryOf : public testing::Test {
 protected:
  HostMemoryOf() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    write(
        "/proc/meminfo",
        "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    8388608 kB\n");
  }
  ~HostMemoryOf() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  std::string root_;
};

TEST_F(HostMemoryOf, AHostWithoutGroupsIsWhatItHasAvailable) {
  const HostMemory memory = read_host_memory(root_);
  EXPECT_EQ(memory.host, 8 * kGiB);
  EXPECT_EQ(memory.available(), 8 * kGiB);
  EXPECT_EQ(memory.source(), "MemAvailable in /proc/meminfo");
}

TEST_F(HostMemoryOf, AGroupLeavesItsLimitLessWhatIsKeptInIt) {
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/memory.max", "4294967296\n");
  write("/sys/fs/cgroup/a/b/memory.current", "3221225472\n");  // 3 GiB, 2 of them page cache
  write("/sys/fs/cgroup/a/b/memory.stat",
        "anon 1073741824\ninactive_file 1073741824\nactive_file 1073741824\n");
  const HostMemory memory = read_host_memory(root_);
  EXPECT_EQ(memory.available(), 3 * kGiB);
  EXPECT_EQ(memory.source(), "/sys/fs/cgroup/a/b/memory.max");
  EXPECT_EQ(memory.host, 8 * kGiB);
}

TEST_F(HostMemoryOf, AGroupInsideATighterOneIsBoundByThat) {
  write("/proc/self/cgroup", "0::/job/step\n");
  write("/sys/fs/cgroup/job/step/memory.max", "max\n");
  write("/sys/fs/cgroup/job/step/memory.current", "5\n");
  write("/sys/fs/cgroup/job/memory.max", "1073741824\n");
  write("/sys/fs/cgroup/job/memory.current", "0\n");
  EXPECT_EQ(read_host_memory(root_).available(), kGiB);
  EXPECT_EQ(read_host_memory(root_).group_file, "/sys/fs/cgroup/job/memory.max");
}

// In a container the group's path is often another one inside than outside.
TEST_F(HostMemoryOf, AContainerIsBoundByTheLimitAtItsRoot) {
  write("/proc/self/cgroup", "0::/docker/0123\n");
  write("/sys/fs/cgroup/memory.max", "2147483648\n");
  write("/sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(read_host_memory(root_).available(), 2 * kGiB);
  EXPECT_EQ(read_host_memory(root_).group_file, "/sys/fs/cgroup/memory.max");
}

TEST_F(HostMemoryOf, AGroupOfTheFirstVersionCountsAsWell) {
  write("/proc/self/cgroup", "7:cpu:/x\n4:memory:/x\n0::/\n");
  write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2147483648\n");
  write("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1073741824\n");
  write("/sys/fs/cgroup/memory/x/memory.stat", "inactive_file 7\ntotal_inactive_file 536870912\n");
  EXPECT_EQ(read_host_memory(root_).available(), kGiB + kGiB / 2);
}

TEST_F(HostMemoryOf, AGroupWithMoreThanTheHostChangesNothing) {
  write("/proc/self/cgroup", "4:memory:/\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n");
  EXPECT_EQ(read_host_memory(root_).available(), 8 * kGiB);
  EXPECT_EQ(read_host_memory(root_).group_file, "");
}

TEST_F(HostMemoryOf, AHostThatDoesNotTellIsAnError) {
  write("/proc/meminfo", "MemTotal: 5 kB\n");
  EXPECT_THROW(read_host_memory(root_), Error);
}

}  // namespace
}  // namespace lockstep::launch
