#include "launch/step_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "comm/random_token.h"

namespace lockstep::launch {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

constexpr milliseconds kAmple{20000};

// Steps are done when the test says so.
class ScriptedSteps final : public shard::StepRunner {
 public:
  bool can_begin() const override { return begun_ < most_begun; }
  void begin(std::span<const shard::ForwardSequence> batch,
             std::span<const shard::SamplingInput>) override {
    for (int i = 0; i < signs; ++i) sign();
    log("begin " + std::to_string(batch[0].first_position));
    ++begun_;
  }
  bool done() override { return steps_done > finished_; }
  shard::StepResult finish() override {
    while (!done()) std::this_thread::yield();
    for (int i = 0; i < signs; ++i) sign();
    log("finish");
    --begun_;
    ++finished_;
    return {};
  }
  std::vector<std::string> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  void wait_for_calls(std::size_t count) {
    while (calls().size() < count) std::this_thread::yield();
  }

  std::atomic<int> steps_done = 0;
  int most_begun = 2;
  int signs = 0;  // of each step, while it begins and while it ends
  std::function<void()> sign;

 private:
  void log(const std::string& call) {
    const std::lock_guard lock(mutex_);
    calls_.push_back(call);
  }
  int begun_ = 0, finished_ = 0;
  std::mutex mutex_;
  std::vector<std::string> calls_;
};

// A coordinator of one rank, whose loop runs in a thread of its own.
class StepLoopTest : public testing::Test {
 protected:
  void SetUp() override {
    publisher_.wait_for_subscribers(kAmple);
    thread_ = std::jthread([this] {
      comm::spawn_ranks(1, kAmple, [this](comm::Communicator& communicator) {
        shard::StepTimes times(communicator);
        shard::Worker worker(steps_, communicator,
                             {.block_size = 16, .num_blocks = 4, .vocab_size = 100}, times);
        comm::Activity activity;
        StepLoop loop(worker, plans_, activity, kAmple, nullptr, [this] { ++computed_; });
        steps_.sign = [&] { loop.tell_progress(); };
        loop.run();
      });
    });
  }
  // The next plan, of one more position of a sequence.
  void publish(bool shutdown = false) {
    comm::StepPlan plan;
    plan.epoch = 1;
    plan.sequence_number = ++number_;
    plan.shutdown = shutdown;
    if (number_ == 1) {
      plan.starts.push_back({.sequence_id = 5,
                             .sampling = {},
                             .num_prompt_tokens = 9,
                             .token_ids = std::vector<std::int32_t>(9, 1)});
    }
    if (!shutdown) {
      const auto position = static_cast<std::int32_t>(number_) - 1;
      plan.entries.push_back({.sequence_id = 5,
                              .first_position = position,
                              .num_tokens = 1,
                              .samples = false,
                              .new_blocks = {}});
      if (number_ == 1) plan.entries[0].new_blocks = {0};
    }
    publisher_.publish(plan);
  }
  std::uint64_t next_report() {
    const auto report = publisher_.receive_report(kAmple);
    return report ? report->sequence_number : 0;
  }
  void end() {
    publish(/*shutdown=*/true);
    EXPECT_EQ(next_report(), number_);
    thread_.join();
  }

  comm::PrivateDirectory directory_;
  zmq::context_t context_;
  const comm::PlanBusAddress address_{directory_.endpoint(), 1, comm::random_token()};
  comm::PlanPublisher publisher_{context_, address_, 1};
  comm::PlanSubscriber plans_{context_, address_, 0};
  ScriptedSteps steps_;
  int computed_ = 0;
  std::uint64_t number_ = 0;
  std::jthread thread_;
};

TEST_F(StepLoopTest, StartsAPlanThatComesWhileAStepIsUnderWay) {
  publish();
  steps_.wait_for_calls(1);
  publish();
  steps_.wait_for_calls(2);
  publish();  // one too many: a step has to be done first
  EXPECT_THAT(steps_.calls(), ElementsAre("begin 0", "begin 1"));
  steps_.steps_done = 1;
  EXPECT_EQ(next_report(), 1u);
  steps_.wait_for_calls(4);
  EXPECT_THAT(steps_.calls(), ElementsAre("begin 0", "begin 1", "finish", "begin 2"));
  steps_.steps_done = 3;
  EXPECT_EQ(next_report(), 2u);
  EXPECT_EQ(next_report(), 3u);
  end();
  EXPECT_EQ(computed_, 3);
}

TEST_F(StepLoopTest, ReportsAStepThoughNoPlanFollows) {
  publish();
  steps_.wait_for_calls(1);
  steps_.steps_done = 1;
  EXPECT_EQ(next_report(), 1u);
  end();
}

// As on a CPU.
TEST_F(StepLoopTest, TakesOnePlanAtATimeWhereStepsDo) {
  steps_.most_begun = 1;
  steps_.steps_done = 3;
  for (int i = 0; i < 3; ++i) publish();
  for (std::uint64_t number = 1; number <= 3; ++number) EXPECT_EQ(next_report(), number);
  EXPECT_THAT(steps_.calls(),
              ElementsAre("begin 0", "finish", "begin 1", "finish", "begin 2", "finish"));
  end();
}

// Of the oldest step, though it is the second that begins.
TEST_F(StepLoopTest, TellsTheCoordinatorThatAStepGoesOn) {
  steps_.signs = 2;
  publish();
  publish();
  const auto expect_signs = [this](int count, std::uint64_t number) {
    for (int i = 0; i < count; ++i) {
      const auto sign = publisher_.receive_report(kAmple);
      ASSERT_TRUE(sign);
      EXPECT_TRUE(sign->underway);
      EXPECT_EQ(sign->sequence_number, number);
    }
  };
  expect_signs(4, 1);
  steps_.steps_done = 2;
  expect_signs(2, 1);
  EXPECT_EQ(next_report(), 1u);
  expect_signs(2, 2);
  EXPECT_EQ(next_report(), 2u);
  end();
}

// The last plan may come while steps are under way, whose reports go first.
TEST_F(StepLoopTest, EndsWithTheReportOfTheLastPlan) {
  publish();
  steps_.wait_for_calls(1);
  publish(/*shutdown=*/true);
  std::this_thread::sleep_for(milliseconds(5));
  steps_.steps_done = 1;
  EXPECT_EQ(next_report(), 1u);
  EXPECT_EQ(next_report(), 2u);
  thread_.join();
}

}  // namespace
}  // namespace lockstep::launch
