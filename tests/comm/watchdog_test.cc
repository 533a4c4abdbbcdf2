#include "comm/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "base/error.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;

TEST(Activity, CountsFromItsRenewal) {
  Activity activity;
  const Activity::Scope step(activity, "step", 7);
  const auto begun = activity.snapshot().since;
  std::this_thread::sleep_for(milliseconds(5));
  activity.renew();
  EXPECT_GT(activity.snapshot().since, begun);
  EXPECT_EQ(activity.snapshot().label, "step");
  EXPECT_EQ(activity.snapshot().number, 7u);
}

TEST(Activity, ReportsTheInnermostScopeAndComesBackToTheOuterOne) {
  Activity activity;
  EXPECT_TRUE(activity.snapshot().idle());
  const auto before = Activity::Clock::now();
  {
    Activity::Scope step(activity, "step", 7);
    const auto outer = activity.snapshot();
    EXPECT_EQ(outer.label, "step");
    EXPECT_EQ(outer.number, 7u);
    EXPECT_GE(outer.since, before);
    {
      Activity::Scope layer(activity, std::string(100, 'x'), 8);
      EXPECT_EQ(activity.snapshot().label, std::string(SharedLabel::kMaxText, 'x'));
    }
    EXPECT_EQ(activity.snapshot().label, "step");
    EXPECT_EQ(activity.snapshot().since, outer.since);
  }
  EXPECT_TRUE(activity.snapshot().idle());
}

TEST(Activity, NeverShowsALabelWithTheNumberOfAnother) {
  Activity activity;
  std::jthread writer([&](const std::stop_token& stop) {
    for (std::uint64_t n = 0; !stop.stop_requested(); ++n) {
      const std::string text(1 + n % 60, static_cast<char>('a' + n % 26));
      Activity::Scope scope(activity, text, n);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    const auto seen = activity.snapshot();
    if (seen.idle()) continue;
    const auto n = seen.number;
    ASSERT_EQ(seen.label, std::string(1 + n % 60, static_cast<char>('a' + n % 26)));
  }
}

TEST(Watchdog, TellsOnceWhatTheRankIsStuckIn) {
  Activity activity;
  std::atomic<int> calls = 0;
  std::promise<std::string> told;
  Watchdog watchdog(activity, milliseconds(40), [&](const std::string& text) {
    if (++calls == 1) told.set_value(text);
  });
  Activity::Scope scope(activity, "layer 3 mlp", 99);
  EXPECT_THAT(told.get_future().get(),
              testing::MatchesRegex(
                  "stuck in 'layer 3 mlp' \\(number 99\\) for [0-9]+ ms, the limit is 40 ms"));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(calls, 1);
}

TEST(Watchdog, LetsIdlenessAndProgressPass) {
  Activity activity;
  std::atomic<int> calls = 0;
  Watchdog watchdog(activity, milliseconds(400), [&](const std::string&) { ++calls; });
  std::this_thread::sleep_for(milliseconds(500));
  for (std::uint64_t step = 0; step < 50; ++step) {
    Activity::Scope scope(activity, "step", step);
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(calls, 0);
}

TEST(Watchdog, StopsAtOnceWhenDestroyed) {
  Activity activity;
  const auto start = std::chrono::steady_clock::now();
  {
    Watchdog watchdog(activity, std::chrono::hours(1), [](const std::string&) {});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_THROW(Watchdog(activity, milliseconds(0), [](const std::string&) {}), Error);
}

}  // namespace
}  // namespace lockstep::comm
