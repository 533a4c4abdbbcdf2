// How much memory this process may still take.
#pragma once

#include <cstddef>
#include <string>

namespace lockstep::launch {

struct HostMemory {
  std::size_t host = 0;    // that the host has left; files in its page cache count as left
  std::size_t group = 0;   // that the tightest of this process's control groups leaves; no group
                           // with a limit: as much as the host
  std::string group_file;  // where that limit stands; empty: none

  std::size_t available() const { return group < host ? group : host; }
  // Where the smaller of both is said, for messages.
  std::string source() const {
    return group < host ? group_file : std::string("MemAvailable in /proc/meminfo");
  }
};

// Reads /proc/meminfo and the control groups of both versions, from this process's own up to the
// root (memory.max, memory.limit_in_bytes). Swap does not count: a step reads all weights. `root`
// stands in front of all paths; for tests. Throws Error when /proc/meminfo cannot be read.
HostMemory read_host_memory(const std::string& root = "");

}  // namespace lockstep::launch
