// Steps on the GPU with the choice of tokens, through the worker: equal on all ranks, at every
// world size, and to the host's choice from the same logits.
#include "shard/gpu/token_choice.h"

#include <gtest/gtest.h>

#include "shard/gpu/step_runner.h"
#include "shard/worker.h"
#include "tests/shard/gpu/choice_plans.h"
#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/gpu/random_weights.h"

namespace lockstep::shard {
namespace {

struct Ran {
  std::vector<comm::StepReport> reports;
  int recordings = 0;
  int exchanges = 0;
  int waits_in_start = 0;
  int starts_ahead = 0;  // of plans, while the one before was under way
  std::size_t items_of_last_step = 0;
};

constexpr std::int32_t kSequences = 8;

struct Way {
  bool on_gpu = true;  // where tokens are chosen
  // A plan is started while the one before is under way.
  bool ahead = false;
  kernels::cuda::Doing doing = kernels::cuda::Doing::at_once;
  GpuChoiceOptions options = {.max_sequences = kSequences, .most_listed = 1000};
  bool peers = false;                   // kernels exchange by themselves
  std::int64_t gather_below = 4 << 20;  // GpuRunnerOptions
  std::int32_t max_recordings = 64;     // the same
};

// Every rank's run.
std::vector<Ran> run(int world, const std::vector<comm::StepPlan>& plans, const Way& way = {}) {
  const model::Model model = one_layer();
  std::vector<Ran> ran(static_cast<std::size_t>(world));
  comm::spawn_ranks(world, std::chrono::seconds(120), [&](comm::Communicator& communicator) {
    Ran& mine = ran[static_cast<std::size_t>(communicator.rank())];
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once, way.doing);
    ExecutedExchange exchange(
        gpu, communicator,
        way.peers ? std::optional<std::chrono::nanoseconds>(std::chrono::seconds(120))
                  : std::nullopt);
    const Partition part =
        partition_model(model.config, world)[static_cast<std::size_t>(communicator.rank())];
    GpuLlamaRunner runner(model.config, random_weights(model, part, gpu),
                          {.block_size = kChoiceLimits.block_size,
                           .max_batch_tokens = 48,
                           .max_sequences = kSequences,
                           .max_positions = 64,
                           .gather_below = way.gather_below,
                           .max_recordings = way.max_recordings,
                           .sampling_bytes = GpuTokenChoice::upload_bytes(way.options, world)},
                          gpu, exchange);
    runner.allocate_cache(kChoiceLimits.num_blocks);
    gpu.synchronize("start");
    StepTimes times(communicator);
    Sampler sampler(communicator, runner.vocab_range(), runner.vocab_ranges());
    GpuTokenChoice choice(runner, way.options, gpu, exchange, sampler);
    GpuStepRunner on_device(runner, choice, times);
    HostStepRunner on_host(runner, sampler, times, true);
    StepRunner& steps = way.on_gpu ? static_cast<StepRunner&>(on_device) : on_host;
    Worker worker(steps, communicator, kChoiceLimits, times);
    const auto finish_one = [&] { mine.reports.push_back(worker.finish()); };
    for (const comm::StepPlan& plan : plans) {
      while (worker.num_started() > 0 && !(way.ahead && worker.can_start())) finish_one();
      const int waits = exchange.waits;
      const std::size_t items = gpu.items();
      mine.starts_ahead += worker.num_started() > 0 ? 1 : 0;
      worker.start(plan);
      mine.items_of_last_step = gpu.items() - items;
      mine.waits_in_start += exchange.waits - waits;
    }
    while (worker.num_started() > 0) finish_one();
    mine.recordings = runner.recordings();
    mine.exchanges = exchange.exchanges;
    EXPECT_FALSE(exchange.gathered_elsewhere.contains("best tokens"));
    communicator.barrier("end");
  });
  return ran;
}

void expect_same_tokens(const Ran& a, const Ran& b) {
  ASSERT_EQ(a.reports.size(), b.reports.size());
  for (std::size_t step = 0; step < a.reports.size(); ++step) {
    const auto& left = a.reports[step].sampled;
    const auto& right = b.reports[step].sampled;
    ASSERT_EQ(left.size(), right.size()) << step;
    for (std::size_t i = 0; i < left.size(); ++i) {
      EXPECT_EQ(left[i].sequence_id, right[i].sequence_id);
      EXPECT_EQ(left[i].token_id, right[i].token_id) << "step " << step << ", row " << i;
    }
    EXPECT_EQ(a.reports[step].digest, b.reports[step].digest) << step;  // of logprobs, too
  }
}

std::uint32_t rows_on_host(const Ran& ran) {
  std::uint32_t rows = 0;
  for (const comm::StepReport& report : ran.reports) rows += report.rows_on_host;
  return rows;
}

TEST(GpuTokenChoice, IsTheHostsChoice) {
  const auto on_gpu = run(1, plans(3));
  expect_same_tokens(on_gpu[0], run(1, plans(3), {.on_gpu = false})[0]);
  EXPECT_EQ(on_gpu[0].reports[1].sampled.size(), kinds().size());
  EXPECT_EQ(on_gpu[0].reports[1].sampled[0].top_logprobs.size(), 20u);
  EXPECT_EQ(rows_on_host(on_gpu[0]), 0u);
  EXPECT_EQ(on_gpu[0].recordings, 1);
}

// Each step begun while the one before is under way: tokens, and what penalties are for, come from
// the device. With work done as early, and as late as can be.
TEST(GpuTokenChoice, IsTheSameOnAllRanksAtEveryWorldSizeOneStepAhead) {
  const auto alone = run(1, plans(3));
  for (const auto& [world, doing] : {std::pair{1, kernels::cuda::Doing::when_asked},
                                     {2, kernels::cuda::Doing::at_once},
                                     {3, kernels::cuda::Doing::when_asked},
                                     {4, kernels::cuda::Doing::at_once}}) {
    const auto ranks = run(world, plans(3), {.ahead = true, .doing = doing});
    expect_same_tokens(ranks[0], alone[0]);
    for (const Ran& rank : ranks) {
      EXPECT_EQ(rows_on_host(rank), 0u);
      EXPECT_EQ(rank.starts_ahead, std::ssize(plans(3)) - 1);
      EXPECT_EQ(rank.waits_in_start, 0);
      for (std::size_t step = 0; step < rank.reports.size(); ++step) {
        EXPECT_EQ(rank.reports[step].digest, alone[0].reports[step].digest);
      }
    }
  }
}

// Of rows that need no whole row of the vocabulary, and of rows most of which do; three in steps of
// four. Tokens depend on biases and on the answer so far. Besides the recording there is the step's
// upload, and its way back.
TEST(GpuTokenChoice, IsPartOfRecordings) {
  Sampling taking_turns{.frequency_penalty = 400.0f, .logit_bias = {{33, 1000.0f}, {44, 900.0f}}};
  const auto greedy = params_of(taking_turns);
  taking_turns.temperature = 1.5f;
  taking_turns.top_k = 15;
  const auto top_k = params_of(taking_turns);
  const auto penalties = params_of({.temperature = 1.0f, .presence_penalty = 2.0f, .seed = 3});
  const auto top_p = params_of({.temperature = 1.5f, .top_p = 0.8f, .seed = 4});
  for (const auto& kinds :
       {std::vector{penalties, greedy, penalties}, std::vector{top_p, greedy, top_k}}) {
    const auto steps = plans(5, kinds);
    const auto expected = run(1, steps, {.on_gpu = false});
    for (const int world : {1, 2, 3}) {
      const auto ranks =
          run(world, steps, {.ahead = true, .doing = kernels::cuda::Doing::when_asked});
      expect_same_tokens(ranks[0], expected[0]);
      for (const Ran& rank : ranks) {
        EXPECT_EQ(rank.recordings, 1);
        EXPECT_EQ(rank.items_of_last_step, 3u);
      }
    }
  }
}

// Of rows most of which have logprobs, alone and with top_k and its like. On their way back there
// are two copies.
TEST(GpuTokenChoice, IsPartOfRecordingsWithLogprobs) {
  const auto penalties =
      params_of({.temperature = 1.0f, .presence_penalty = 2.0f, .seed = 3, .logprobs = 2});
  const auto greedy = params_of({.frequency_penalty = 400.0f, .logit_bias = {{33, 1000.0f}}});
  const auto top_k = params_of({.temperature = 1.5f, .top_k = 15, .seed = 5, .logprobs = 0});
  const auto top_p = params_of({.temperature = 1.5f, .top_p = 0.8f, .seed = 4, .logprobs = 20});
  for (const auto& kinds :
       {std::vector{penalties, greedy, penalties}, std::vector{top_p, greedy, top_k}}) {
    const auto steps = plans(5, kinds);
    const auto expected = run(1, steps, {.on_gpu = false});
    for (const int world : {1, 2, 3, 4}) {
      const auto ranks =
          run(world, steps, {.ahead = true, .doing = kernels::cuda::Doing::when_asked});
      expect_same_tokens(ranks[0], expected[0]);
      for (const Ran& rank : ranks) {
        EXPECT_EQ(rank.reports.back().digest, expected[0].reports.back().digest);
        EXPECT_EQ(rank.recordings, 1);
        EXPECT_EQ(rank.items_of_last_step, 4u);
      }
    }
  }
}

// Steps of two rows each that differ in nothing but how many of the best tokens are wanted, by
// whom, and whether top_k is there: each is recorded for itself, but those of 2 and of 5 together.
TEST(GpuTokenChoice, HasARecordingForEachShapeOfLogprobs) {
  const auto with = [](int top_k, int logprobs) {
    return params_of(
        {.temperature = 1.1f, .top_k = top_k, .presence_penalty = 1.0f, .logprobs = logprobs});
  };
  constexpr int kNone = -1;  // logprobs
  const std::vector<std::vector<comm::SamplingParams>> pairs = {
      {with(0, kNone), with(0, kNone)}, {with(0, 0), with(0, 0)}, {with(0, 1), with(0, 0)},
      {with(0, 2), with(0, 2)},         {with(0, 5), with(0, 2)}, {with(0, 20), with(0, 6)},
      {with(9, kNone), with(9, kNone)}, {with(9, 0), with(9, 0)}, {with(9, 20), with(9, 20)}};
  for (std::size_t first = 0; first < pairs.size(); first += 3) {
    std::vector<comm::SamplingParams> kinds;
    for (std::size_t of_pair = 0; of_pair < 2; ++of_pair) {
      for (std::size_t i = first; i < first + 3; ++i) kinds.push_back(pairs[i][of_pair]);
    }
    const auto steps = plans(12, kinds, 3);
    const auto expected = run(1, steps, {.on_gpu = false});
    for (const int world : {1, 3}) {
      const auto ranks =
          run(world, steps, {.ahead = true, .doing = kernels::cuda::Doing::when_asked});
      expect_same_tokens(ranks[0], expected[0]);
      for (const Ran& rank : ranks) {
        EXPECT_EQ(rank.reports.back().digest, expected[0].reports.back().digest);
        EXPECT_EQ(rank.recordings, first == 3 ? 2 : 3);
      }
    }
  }
}

// Sequences take turns in steps of two rows. One of the second pair has logprobs, so that its steps
// are recorded without the choice of tokens: first, and there is room for no more. The third pair's
// have their choice behind the same recording.
TEST(GpuTokenChoice, IsBehindARecordingOfTheRestWhereNoMoreIsRecorded) {
  const auto greedy = params_of({.presence_penalty = 1.0f});
  const auto logprobs = params_of({.temperature = 1.0f, .seed = 8, .logprobs = 2});
  const std::vector kinds = {greedy, logprobs, logprobs, greedy, greedy, logprobs};
  const auto items_saved = [&](int steps) {
    Way way{.ahead = true, .doing = kernels::cuda::Doing::when_asked, .max_recordings = 0};
    const Ran without = run(1, plans(steps, kinds, 3), way)[0];
    way.max_recordings = 1;
    const Ran with = run(1, plans(steps, kinds, 3), way)[0];
    EXPECT_EQ(with.recordings, 1);
    expect_same_tokens(with, without);
    return without.items_of_last_step - with.items_of_last_step;
  };
  const std::size_t of_second = items_saved(11), of_third = items_saved(12);
  EXPECT_GT(of_second, 0u);
  EXPECT_EQ(of_third, of_second);
}

// Two steps in line whose kernels exchange by themselves, with work done as early, and as late as
// can be. Up to five rows are summed so, and the prompts by exchanges; of six steps the later ones
// are recorded, with the choice. What kernels exchange in these, nobody else does: the sums of the
// embedding, of attention and of the MLP.
TEST(GpuTokenChoice, IsTheSameByKernelsThatExchangeOneStepAheadAndRecorded) {
  const auto penalties = params_of({.temperature = 1.0f, .presence_penalty = 2.0f, .seed = 3});
  const auto greedy = params_of({.frequency_penalty = 400.0f, .logit_bias = {{33, 1000.0f}}});
  const auto steps = plans(6, {penalties, greedy, penalties});
  const auto expected = run(1, steps, {.on_gpu = false});
  Way way{.ahead = true};
  way.gather_below = std::int64_t{4} * 4 * 4 * small_config().hidden_size;
  const int exchanges = run(2, steps, way)[0].exchanges;
  way.peers = true;
  for (const auto doing : {kernels::cuda::Doing::at_once, kernels::cuda::Doing::when_asked}) {
    way.doing = doing;
    const auto ranks = run(2, steps, way);
    expect_same_tokens(ranks[0], expected[0]);
    for (const Ran& rank : ranks) {
      EXPECT_EQ(rank.reports.back().digest, expected[0].reports.back().digest);
      EXPECT_EQ(rank.exchanges, exchanges - 6 * 3);
      EXPECT_EQ(rank.starts_ahead, std::ssize(steps) - 1);
      EXPECT_EQ(rank.waits_in_start, 0);
      EXPECT_EQ(rank.recordings, 1);
      EXPECT_EQ(rank.items_of_last_step, 3u);
    }
  }
}

// Of its two layers one after the other, and of the choice of its token.
TEST(GpuStepRunner, TellsThatALongStepGoesOn) {
  const model::Model model = make_model(small_config());
  comm::spawn_ranks(1, std::chrono::seconds(120), [&](comm::Communicator& communicator) {
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once, kernels::cuda::Doing::when_asked);
    ExecutedExchange exchange(gpu, communicator);
    const Partition part = partition_model(model.config, 1)[0];
    const GpuChoiceOptions options{.max_sequences = kSequences, .most_listed = 1000};
    StepTimes times(communicator);
    GpuLlamaRunner runner(model.config, random_weights(model, part, gpu),
                          {.max_batch_tokens = 130,
                           .max_sequences = kSequences,
                           .max_positions = 130,
                           .sampling_bytes = GpuTokenChoice::upload_bytes(options, 1)},
                          gpu, exchange);
    runner.allocate_cache(9);
    Sampler sampler(communicator, runner.vocab_range(), runner.vocab_ranges());
    GpuTokenChoice choice(runner, options, gpu, exchange, sampler);
    GpuStepRunner steps(runner, choice, times);
    int signs = 0;
    times.tell_progress(std::chrono::nanoseconds(0), [&] { ++signs; });
    const auto tokens = some_tokens(129, 5);
    const std::vector<std::int32_t> blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    const comm::SamplingParams params = params_of({});
    steps.begin(std::vector{ForwardSequence{tokens, 0, blocks, true}},
                std::vector{SamplingInput{.sequence_id = 1, .params = &params, .position = 129}});
    EXPECT_EQ(signs, 0);
    steps.finish();
    EXPECT_EQ(signs, 3);
  });
}

// Of two sequences, of which there is room for one.
TEST(GpuTokenChoice, IsTheSameWhereListsHaveNoRoom) {
  const auto alone = run(1, plans(3));
  for (const int world : {1, 2}) {
    Way way{.ahead = true};
    way.options.most_listed = 13;
    const auto ranks = run(world, plans(3), way);
    expect_same_tokens(ranks[0], alone[0]);
    EXPECT_EQ(rows_on_host(ranks[0]), 4u);
    EXPECT_LT(ranks[0].starts_ahead, std::ssize(plans(3)) - 1);  // the host chooses first
  }
}

}  // namespace
}  // namespace lockstep::shard
