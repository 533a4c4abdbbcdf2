#include "comm/watchdog.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;

std::string describe(const Activity::Snapshot& activity, milliseconds lasted, milliseconds limit) {
  std::string text = "stuck in '";
  text.append(activity.label).append("' (number ").append(std::to_string(activity.number));
  text.append(") for ").append(std::to_string(lasted.count()));
  text.append(" ms, the limit is ").append(std::to_string(limit.count())).append(" ms");
  return text;
}

void watch(const std::stop_token& stop, const Activity& activity, milliseconds limit,
           const Watchdog::OnStuck& on_stuck) {
  const milliseconds interval = std::max(limit / 4, milliseconds(1));
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    const Activity::Snapshot now = activity.snapshot();
    const auto lasted =
        std::chrono::duration_cast<milliseconds>(Activity::Clock::now() - now.since);
    if (!now.idle() && lasted > limit) return on_stuck(describe(now, lasted, limit));
    stopped.wait_for(lock, stop, interval, [] { return false; });
  }
}

}  // namespace

Watchdog::Watchdog(const Activity& activity, milliseconds limit, OnStuck on_stuck) {
  if (limit.count() <= 0) throw Error("watchdog: the limit must be positive");
  thread_ =
      std::jthread([&activity, limit, on_stuck = std::move(on_stuck)](const std::stop_token& stop) {
        watch(stop, activity, limit, on_stuck);
      });
}

}  // namespace lockstep::comm
