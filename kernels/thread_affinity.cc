#include "kernels/thread_affinity.h"

#include <sched.h>

#include <cstring>

#include "base/error.h"

namespace lockstep::kernels {
namespace {

static_assert(CpuSet().size() <= CPU_SETSIZE);

// Zero, or the error.
int set_affinity(pthread_t thread, const CpuSet& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (std::size_t cpu = 0; cpu < cpus.size(); ++cpu) {
    if (cpus.test(cpu)) CPU_SET(cpu, &set);
  }
  return pthread_setaffinity_np(thread, sizeof set, &set);
}

}  // namespace

std::string to_text(const CpuSet& cpus) {
  std::string text;
  for (std::size_t first = 0; first < cpus.size(); ++first) {
    if (!cpus.test(first)) continue;
    std::size_t last = first;
    while (last + 1 < cpus.size() && cpus.test(last + 1)) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(first);
    if (last > first) text += "-" + std::to_string(last);
    first = last;
  }
  return text;
}

CpuSet allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int error = pthread_getaffinity_np(pthread_self(), sizeof set, &set);
  if (error != 0) {
    throw Error(std::string("the CPUs of a thread cannot be read: ") + std::strerror(error));
  }
  CpuSet cpus;
  for (std::size_t cpu = 0; cpu < cpus.size(); ++cpu) cpus.set(cpu, CPU_ISSET(cpu, &set));
  return cpus;
}

void pin_thread(pthread_t thread, const CpuSet& cpus) {
  const int error = set_affinity(thread, cpus);
  if (error != 0) {
    throw Error("a thread cannot be pinned to CPUs " + to_text(cpus) + ": " + std::strerror(error));
  }
}

PinnedThread::PinnedThread(const CpuSet& cpus) {
  if (cpus.none()) return;
  const CpuSet before = allowed_cpus();
  pin_thread(pthread_self(), cpus);
  before_ = before;
}

PinnedThread::~PinnedThread() {
  // Where it was allowed before it may be no longer; then it stays where it is.
  if (before_.any()) set_affinity(pthread_self(), before_);
}

}  // namespace lockstep::kernels
