#include "launch/descriptor_limit.h"

#include <sys/resource.h>

#include <algorithm>

namespace lockstep::launch {

void raise_descriptor_limit() {
  constexpr rlim_t kEnough = 65'536;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kEnough) return;
  limit.rlim_cur = std::min(limit.rlim_max, kEnough);
  setrlimit(RLIMIT_NOFILE, &limit);  // where it fails, the limit stays as it is
}

}  // namespace lockstep::launch
