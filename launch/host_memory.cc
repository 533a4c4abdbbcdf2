#include "launch/host_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace lockstep::launch {
namespace {

// The files of one version of control groups.
struct GroupFiles {
  std::string folder;  // where groups are mounted
  std::string_view limit;
  std::string_view used;
  // Keys of memory.stat: what is used, but given back when it is needed.
  std::initializer_list<std::string_view> reclaimable;
};

std::optional<std::size_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::size_t number;
  if (!(file >> number)) return std::nullopt;  // "max", or no such file
  return number;
}

std::size_t read_reclaimable(const std::string& path,
                             std::initializer_list<std::string_view> keys) {
  std::ifstream file(path);
  std::size_t total = 0, value;
  std::string key;
  while (file >> key >> value) {
    if (std::ranges::find(keys, key) != keys.end()) total += value;
  }
  return total;
}

// Lowers `memory.group` to what the groups from `group` up to the root leave.
void apply_groups(const GroupFiles& files, const std::string& group, const std::string& root,
                  HostMemory& memory) {
  for (std::filesystem::path at = group;; at = at.parent_path()) {
    const std::string folder = files.folder + (at == "/" ? "" : at.string()) + "/";
    const auto limit = read_number(root + folder + std::string(files.limit));
    const auto used = read_number(root + folder + std::string(files.used));
    if (limit && used) {
      const std::size_t kept =
          *used -
          std::min(*used, read_reclaimable(root + folder + "memory.stat", files.reclaimable));
      const std::size_t left = *limit - std::min(*limit, kept);
      if (left < memory.group) {
        memory.group = left;
        memory.group_file = folder + std::string(files.limit);
      }
    }
    if (!at.has_relative_path()) return;
  }
}

std::size_t read_available(const std::string& path) {
  std::ifstream file(path);
  std::string key, unit;
  std::size_t kib;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  throw Error("/proc/meminfo: no MemAvailable");
}

}  // namespace

HostMemory read_host_memory(const std::string& root) {
  HostMemory memory;
  memory.host = memory.group = read_available(root + "/proc/meminfo");
  const GroupFiles version_1{.folder = "/sys/fs/cgroup/memory",
                             .limit = "memory.limit_in_bytes",
                             .used = "memory.usage_in_bytes",
                             .reclaimable = {"total_inactive_file", "total_active_file"}};
  const GroupFiles version_2{.folder = "/sys/fs/cgroup",
                             .limit = "memory.max",
                             .used = "memory.current",
                             .reclaimable = {"inactive_file", "active_file", "slab_reclaimable"}};
  // Lines "<number>:<controllers>:<group>"; version 2 is "0::<group>".
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (!group.starts_with('/')) continue;
    if (controllers.empty()) apply_groups(version_2, group, root, memory);
    if (controllers == "memory") apply_groups(version_1, group, root, memory);
  }
  return memory;
}

}  // namespace lockstep::launch
