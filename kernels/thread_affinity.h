// On which CPUs a thread may run.
#pragma once

#include <pthread.h>

#include <bitset>
#include <string>

namespace lockstep::kernels {

// CPUs by the system's numbers (/proc/cpuinfo's "processor"); a hardware thread is one CPU. CPUs
// beyond the 1024th are never used.
using CpuSet = std::bitset<1024>;

// "0-3,8".
std::string to_text(const CpuSet& cpus);

// Where the calling thread may run. Threads that it starts inherit this.
CpuSet allowed_cpus();

// From now on `thread` runs on `cpus` only. Throws Error when the system refuses, as it does when
// none of them belongs to this process's control group.
void pin_thread(pthread_t thread, const CpuSet& cpus);

// The calling thread runs on `cpus` only while this lives, and where it was allowed before
// afterwards, so that threads started then are not bound.
class PinnedThread {
 public:
  // An empty set changes nothing. Throws as pin_thread() does.
  explicit PinnedThread(const CpuSet& cpus);
  ~PinnedThread();
  PinnedThread(const PinnedThread&) = delete;
  PinnedThread& operator=(const PinnedThread&) = delete;

 private:
  CpuSet before_;  // empty: nothing to restore
};

}  // namespace lockstep::kernels
