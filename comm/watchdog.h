// Notices that a rank is stuck.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "comm/activity.h"

namespace lockstep::comm {

// Looks at an activity from a thread of its own, so that it works whatever the rank hangs in.
class Watchdog {
 public:
  // Called once, on the watchdog's thread, with e.g. "stuck in 'layer 12 mlp' (number 3456) for
  // 2103 ms, the limit is 2000 ms". It must not throw; usually it prints and ends the process.
  using OnStuck = std::function<void(const std::string& text)>;

  // Fires when one and the same activity has lasted longer than `limit`, at most a quarter of
  // `limit` late. `activity` must outlive the watchdog; the destructor stops it.
  Watchdog(const Activity& activity, std::chrono::milliseconds limit, OnStuck on_stuck);

 private:
  std::jthread thread_;
};

}  // namespace lockstep::comm
