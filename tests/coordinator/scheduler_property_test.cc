// Random workloads against a shard that checks every plan.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "coordinator/scheduler.h"
#include "tests/coordinator/fake_shard.h"

namespace lockstep::coordinator {
namespace {

using testing::fake_token;
using testing::FakeShard;
using testing::kVocabSize;

class Workload {
 public:
  Workload(std::uint32_t seed, std::size_t depth, std::int32_t stages, bool drafts)
      : random_(seed),
        depth_(depth),
        options_(random_options(stages, drafts)),
        scheduler_(options_, 1),
        shard_(options_.num_blocks, options_.block_size, options_.max_num_batched_tokens,
               stages > 1) {
    shard_.max_logits = std::max(options_.max_num_seqs, 1 + options_.num_speculative_tokens);
  }

  void run(int num_requests) {
    while (num_added_ < num_requests || !open_.empty() || !reports_.empty()) {
      if (num_added_ < num_requests && open_.size() < most_open_ && below(3) == 0) add();
      if (!open_.empty() && below(200) == 0) cancel();
      // Reports may be late, never out of order.
      if (reports_.size() < depth_) publish();
      if (!reports_.empty() && (reports_.size() == depth_ || below(2) == 0)) take_report();
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(scheduler_.blocks().num_used(), 0);
    EXPECT_EQ(scheduler_.num_running() + scheduler_.num_waiting(), 0);
    shard_.execute(scheduler_.empty_plan(true));
    EXPECT_EQ(shard_.num_sequences(), 0u);
    EXPECT_TRUE(std::is_sorted(first_started_.begin(), first_started_.end()));
  }

  std::uint64_t num_preemptions() const { return scheduler_.num_preemptions(); }
  std::uint64_t num_plans() const { return num_plans_; }
  std::int64_t num_finished() const { return num_finished_; }
  std::int64_t drafts_accepted() const { return shard_.drafts_accepted(); }

 private:
  std::int32_t below(std::int32_t n) {
    return std::uniform_int_distribution<std::int32_t>(0, n - 1)(random_);
  }

  SchedulerOptions random_options(std::int32_t stages, bool drafts) {
    SchedulerOptions options;
    options.pipeline_stages = stages;
    options.max_num_seqs = 1 + below(12);
    options.max_num_batched_tokens = options.max_num_seqs + below(40);
    options.max_model_len = 40 + below(120);
    options.block_size = 16 * (1 + below(2));
    options.num_blocks = 3 + below(20);
    if (drafts) {
      most_open_ = 1 + below(10);  // steps without prompts, which draft, are to be many
      options.num_speculative_tokens = 1 + below(12);
      options.max_num_batched_tokens =
          std::max(options.max_num_batched_tokens, options.num_speculative_tokens + 1);
    }
    return options;
  }

  void add() {
    const std::int32_t capacity =
        std::min(options_.max_model_len, options_.num_blocks * options_.block_size + 1);
    Request request;
    request.sequence_id = ++num_added_;
    request.sampling.seed = random_();
    const std::int32_t prompt = 1 + below(capacity - 1);
    request.prompt_token_ids.resize(prompt);
    for (auto& id : request.prompt_token_ids) id = below(kVocabSize);
    request.stop.max_tokens = 1 + below(capacity - prompt);
    if (below(2) == 0) request.stop.eos_token_ids = {below(kVocabSize), below(kVocabSize)};
    if (below(4) == 0) {
      for (int i = 0; i < 40; ++i) request.stop.stop_token_ids.push_back(below(kVocabSize));
    }
    request.stop.min_tokens = below(4) == 0 ? below(request.stop.max_tokens) : 0;
    std::vector<std::int32_t> answer;
    do {
      const auto generated = static_cast<std::int32_t>(answer.size());
      answer.push_back(fake_token(request.sampling.seed, prompt + generated));
    } while (!check_stop(request.stop, answer.back(), static_cast<std::int32_t>(answer.size())));
    open_[request.sequence_id] = {std::move(answer), 0};
    scheduler_.add(std::move(request));
  }

  void cancel() {
    const auto victim = std::next(open_.begin(), below(static_cast<std::int32_t>(open_.size())));
    ASSERT_TRUE(scheduler_.cancel(victim->first));
    open_.erase(victim);
  }

  void publish() {
    const auto plan = scheduler_.schedule();
    if (!plan) {
      // Invariant 4: no plan only when there is nothing to do or a report is due.
      ASSERT_TRUE(open_.empty() || !reports_.empty());
      return;
    }
    ++num_plans_;
    for (const comm::SequenceStart& start : plan->starts) {
      if (started_.insert(start.sequence_id).second) first_started_.push_back(start.sequence_id);
    }
    if (!open_.empty() && reports_.empty()) {
      const std::uint64_t oldest = open_.begin()->first;
      ASSERT_TRUE(std::any_of(plan->entries.begin(), plan->entries.end(), [&](const auto& entry) {
        return entry.sequence_id == oldest;
      })) << "the oldest sequence did not advance";
    }
    reports_.push_back(shard_.execute(*plan));
  }

  void take_report() {
    for (const ScheduledToken& t : scheduler_.apply(reports_.front())) {
      const auto open = open_.find(t.token.sequence_id);
      ASSERT_NE(open, open_.end());
      auto& [answer, position] = open->second;
      ASSERT_EQ(t.token.token_id, answer.at(position));
      ++position;
      ASSERT_EQ(t.finish.has_value(), position == answer.size());
      if (t.finish) {
        open_.erase(open);
        ++num_finished_;
      }
    }
    reports_.pop_front();
  }

  struct Expected {
    std::vector<std::int32_t> answer;
    std::size_t position = 0;
  };
  std::mt19937 random_;
  std::size_t depth_;
  std::size_t most_open_ = 80;
  SchedulerOptions options_;
  Scheduler scheduler_;
  FakeShard shard_;
  std::deque<comm::StepReport> reports_;
  std::map<std::uint64_t, Expected> open_;
  std::set<std::uint64_t> started_;
  std::vector<std::uint64_t> first_started_;
  int num_added_ = 0;
  std::uint64_t num_plans_ = 0;
  std::int64_t num_finished_ = 0;
};

// Plans in flight, the stages of the shards' pipeline, and whether they draft.
struct Way {
  std::size_t depth;
  std::int32_t stages;
  bool drafts = false;
};

class SchedulerProperty : public ::testing::TestWithParam<Way> {};

TEST_P(SchedulerProperty, EveryRequestGetsExactlyItsTokensWhateverTheLoad) {
  const auto [depth, stages, drafts] = GetParam();
  std::uint64_t preemptions = 0, plans = 0;
  std::int64_t accepted = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Workload workload(seed, depth, stages, drafts);
    ASSERT_NO_THROW(workload.run(80));
    if (HasFatalFailure()) return;
    EXPECT_GT(workload.num_finished(), 40);
    preemptions += workload.num_preemptions();
    plans += workload.num_plans();
    accepted += workload.drafts_accepted();
  }
  // The workloads must have met what they are there for.
  EXPECT_GT(preemptions, 1000u);
  EXPECT_GT(plans, 50000u);
  EXPECT_EQ(accepted > 10000, drafts) << accepted;
}

INSTANTIATE_TEST_SUITE_P(PlansInFlight, SchedulerProperty,
                         ::testing::Values(Way{1, 1}, Way{2, 1}, Way{3, 1}, Way{3, 2}, Way{5, 4},
                                           Way{1, 1, true}, Way{2, 1, true}, Way{3, 1, true},
                                           Way{3, 2, true}, Way{5, 4, true}),
                         [](const auto& param) {
                           return std::to_string(param.param.depth) + "Of" +
                                  std::to_string(param.param.stages) + "Stages" +
                                  (param.param.drafts ? "WithDrafts" : "");
                         });

}  // namespace
}  // namespace lockstep::coordinator
