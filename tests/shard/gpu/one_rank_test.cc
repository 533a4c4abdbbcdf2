// The forward pass of one rank, whole and in pipeline stages, on the executor in shard_test and on
// a GPU in cuda_suite: against plain double-precision loops, and against itself. On a GPU this is
// the matrix unit's rounding and real graphs.
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <zmq.hpp>

#include "comm/stage_link.h"
#include "shard/gpu/llama.h"
#include "shard/gpu/step_runner.h"
#include "shard/worker.h"
#include "tests/kernels/cuda/test_gpu.h"
#include "tests/shard/gpu/choice_plans.h"
#include "tests/shard/gpu/random_weights.h"

namespace lockstep::shard {
namespace {

using Steps = std::vector<std::vector<ForwardSequence>>;
using Bits = std::vector<std::uint32_t>;
constexpr std::size_t kVocabulary = 107;

class OneGpu : public kernels::cuda::OnTestGpu {
 protected:
  // The bits of all steps' logits.
  Bits run(const model::Model& model, const Steps& steps, const GpuRunnerOptions& options) {
    kernels::cuda::TestGpu test;
    NoExchange exchange(test.gpu());
    GpuLlamaRunner runner(model.config,
                          random_weights(model, partition_model(model.config, 1)[0], test.gpu()),
                          options, test.gpu(), exchange);
    runner.allocate_cache(8);
    Bits bits;
    for (const auto& batch : steps) {
      for (const float value : runner.forward(batch)) {
        bits.push_back(std::bit_cast<std::uint32_t>(value));
      }
    }
    recordings_ = runner.recordings();
    return bits;
  }
  // On two stages of a layer each, which take turns in this thread.
  Bits run_in_stages(const Steps& steps, std::int32_t max_recordings) {
    constexpr std::chrono::milliseconds kDeadline{10000};
    auto options = options_;
    options.max_recordings = max_recordings;
    zmq::context_t context;
    const comm::PlanBusAddress link{.endpoint = "inproc://link", .epoch = 1, .token = "token"};
    comm::StageOutlet out(context, link, {1, kDeadline});
    comm::StageInlet in(context, link, 1, {0, kDeadline}, 1 << 20);
    out.wait_for_inlet();
    kernels::cuda::TestGpu test;
    NoExchange exchange(test.gpu());
    const auto weights = [&](Range layers) {
      return load_gpu_weights(model_, partition_model(model_.config, 1, layers)[0], test.gpu());
    };
    GpuLlamaRunner first(model_.config, weights({0, 1}), options, test.gpu(), exchange,
                         {{0, 1}, nullptr, &out});
    GpuLlamaRunner last(model_.config, weights({1, 2}), options, test.gpu(), exchange,
                        {{1, 2}, &in, nullptr});
    first.allocate_cache(8);
    last.allocate_cache(8);
    Bits bits;
    for (const auto& batch : steps) {
      EXPECT_TRUE(first.forward(batch).empty());
      for (const float value : last.forward(batch)) {
        bits.push_back(std::bit_cast<std::uint32_t>(value));
      }
    }
    EXPECT_EQ(first.recordings(), last.recordings());
    recordings_ = last.recordings();
    return bits;
  }
  Bits run(const Steps& steps, std::int32_t max_recordings = 0) {
    auto options = options_;
    options.max_recordings = max_recordings;
    return run(model_, steps, options);
  }

  ForwardSequence piece(int begin, int end, bool logits) const {
    return of(tokens_, blocks_, begin, end, logits);
  }
  ForwardSequence company(int begin, int end, bool logits) const {
    return of(other_, other_blocks_, begin, end, logits);
  }

  // Three rows in recordings of four.
  Steps three_sequences() const {
    Steps steps{{piece(0, 14, true), company(0, 4, true)}};
    for (int i = 0; i < 4; ++i) {
      steps.push_back({piece(14 + i, 15 + i, true), company(4 + i, 5 + i, true),
                       ForwardSequence{std::span(tokens_).first(1), 0, third_block_, true}});
    }
    return steps;
  }

  void expect_near_the_model(const Bits& bits, double bound) const {
    const auto expected = Reference(model_).last_logits(tokens_);
    ASSERT_EQ(bits.size(), expected.size());
    double scale = 0, difference = 0;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      scale = std::max(scale, std::fabs(expected[i]));
      difference = std::max(difference, std::fabs(std::bit_cast<float>(bits[i]) - expected[i]));
    }
    EXPECT_LT(difference, bound * scale);
  }

  const model::Model model_ = make_model(small_config());
  const GpuRunnerOptions options_{
      .block_size = 16, .max_batch_tokens = 24, .max_sequences = 8, .max_positions = 64};
  const std::vector<std::int32_t> third_block_{4};
  const std::vector<std::int32_t> tokens_ = some_tokens(19, 21);
  int recordings_ = 0;  // of the last run

 private:
  static ForwardSequence of(const std::vector<std::int32_t>& tokens,
                            const std::vector<std::int32_t>& blocks, int begin, int end,
                            bool logits) {
    return {std::span(tokens).subspan(static_cast<std::size_t>(begin),
                                      static_cast<std::size_t>(end - begin)),
            begin, std::span(blocks).first(static_cast<std::size_t>((end + 15) / 16)), logits};
  }
  const std::vector<std::int32_t> other_ = some_tokens(9, 22);
  const std::vector<std::int32_t> blocks_{7, 2};
  const std::vector<std::int32_t> other_blocks_{1};
};

// Activations and the cache are bf16, eight bits of mantissa.
TEST_F(OneGpu, EqualsTheDoublePrecisionModel) {
  expect_near_the_model(run({{piece(0, 19, true)}}), 0.02);
}

TEST_F(OneGpu, KeepsKeysAndValuesInE4m3OnRequest) {
  auto options = options_;
  options.kv_format = kernels::cuda::CacheFormat::e4m3;
  expect_near_the_model(run(model_, {{piece(0, 19, true)}}, options), 0.15);  // four bits
}

// As when a sequence is preempted and computed again, or shares a batch.
TEST_F(OneGpu, GivesTheSameBitsInChunksAndInCompanyAndDecoding) {
  const Bits expected = run({{piece(0, 19, true)}});
  EXPECT_EQ(run({{piece(0, 1, false)},
                 {company(0, 9, false), piece(1, 4, false)},
                 {piece(4, 17, false)},
                 {piece(17, 18, false)},
                 {piece(18, 19, true)}}),
            expected);
}

TEST_F(OneGpu, RecordedStepsHaveTheBitsOfOthers) {
  const Steps steps = three_sequences();
  const Bits expected = run(steps);
  EXPECT_EQ(recordings_, 0);
  ASSERT_EQ(expected.size(), 14 * kVocabulary);
  EXPECT_EQ(run(steps, 4), expected);
  EXPECT_EQ(recordings_, 1);
}

TEST_F(OneGpu, PipelineStagesOnItHaveTheBitsOfOneRank) {
  const Steps steps = three_sequences();
  const Bits expected = run(steps);
  EXPECT_EQ(run_in_stages(steps, 0), expected);
  EXPECT_EQ(recordings_, 0);
  EXPECT_EQ(run_in_stages(steps, 4), expected);
  EXPECT_EQ(recordings_, 1);
}

// Through a worker, which begins each step while the one before is under way, on a device in
// earnest: its tokens come from there. Without that, by the GPU and by the host.
TEST_F(OneGpu, StepsAheadChooseTheTokensOfOneAfterTheOther) {
  enum class Way { host, one_by_one, ahead };
  int starts_ahead = 0;
  const auto digests = [&](Way way) {
    std::vector<std::uint64_t> digests;
    comm::spawn_ranks(1, std::chrono::seconds(120), [&](comm::Communicator& communicator) {
      kernels::cuda::TestGpu test;
      NoExchange exchange(test.gpu());
      const model::Model model = one_layer();
      const GpuChoiceOptions choice_options{.max_sequences = 8, .most_listed = 1000};
      auto options = GpuRunnerOptions{.block_size = 16, .max_batch_tokens = 48, .max_sequences = 8};
      options.max_positions = 64;
      options.sampling_bytes = GpuTokenChoice::upload_bytes(choice_options, 1);
      GpuLlamaRunner runner(model.config,
                            random_weights(model, partition_model(model.config, 1)[0], test.gpu()),
                            options, test.gpu(), exchange);
      runner.allocate_cache(kChoiceLimits.num_blocks);
      StepTimes times(communicator);
      Sampler sampler(communicator, runner.vocab_range(), runner.vocab_ranges());
      GpuTokenChoice choice(runner, choice_options, test.gpu(), exchange, sampler);
      GpuStepRunner on_device(runner, choice, times);
      HostStepRunner on_host(runner, sampler, times, true);
      StepRunner& steps = way == Way::host ? static_cast<StepRunner&>(on_host) : on_device;
      Worker worker(steps, communicator, kChoiceLimits, times);
      for (const comm::StepPlan& plan : plans(3)) {
        while (worker.num_started() > 0 && !(way == Way::ahead && worker.can_start())) {
          digests.push_back(worker.finish().digest);
        }
        starts_ahead += worker.num_started() > 0 ? 1 : 0;
        worker.start(plan);
      }
      while (worker.num_started() > 0) digests.push_back(worker.finish().digest);
    });
    return digests;
  };
  const auto expected = digests(Way::host);
  EXPECT_EQ(digests(Way::one_by_one), expected);
  EXPECT_EQ(starts_ahead, 0);
  EXPECT_EQ(digests(Way::ahead), expected);
  EXPECT_EQ(starts_ahead, std::ssize(plans(3)) - 1);
}

}  // namespace
}  // namespace lockstep::shard
