#include "coordinator/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string text(Metrics& metrics) {
  const Scheduler scheduler({.max_num_seqs = 4,
                             .max_num_batched_tokens = 32,
                             .max_model_len = 128,
                             .block_size = 16,
                             .num_blocks = 16},
                            /*epoch=*/1);
  return metrics.serialize(scheduler, /*num_waiting=*/3);
}

std::string part(const char* part, const char* rank, const char* seconds) {
  return std::string("lockstep_step_part_seconds_total{part=\"") + part + "\",rank=\"" + rank +
         "\"} " + seconds + "\n";
}

TEST(Metrics, AddUpThePartsOfEachRanksSteps) {
  Metrics metrics(2);
  comm::StepReport report;
  report.product_us = 250'000;
  report.attention_us = 500'000;
  report.all_reduce_us = 750'000;
  report.elementwise_us = 1'000'000;
  report.sampling_us = 1'250'000;
  report.plan_wait_us = 1'500'000;
  comm::StepReport other;
  other.rank = 1;
  other.product_us = 4'000'000;
  metrics.step_done({report, other}, /*computed=*/true);
  metrics.step_done({report, other}, /*computed=*/true);
  const std::string all = text(metrics);
  for (const auto& [name, seconds] : {std::pair{"product", "0.5"},
                                      {"attention", "1"},
                                      {"all_reduce", "1.5"},
                                      {"elementwise", "2"},
                                      {"sampling", "2.5"},
                                      {"waiting", "3"}}) {
    EXPECT_THAT(all, HasSubstr(part(name, "0", seconds)));
  }
  EXPECT_THAT(all, HasSubstr(part("product", "1", "8")));
  EXPECT_THAT(all, HasSubstr(part("waiting", "1", "0")));
}

// All of which choose the same ones.
TEST(Metrics, CountTheTokensThatGpusLeaveToTheirHostsOnOneRankOfTheLastStage) {
  Metrics metrics(3);
  std::vector<comm::StepReport> reports(3);
  for (int rank = 0; rank < 3; ++rank) reports[static_cast<std::size_t>(rank)].rank = rank;
  reports[1].rows_on_host = reports[2].rows_on_host = 4;
  metrics.step_done(reports, /*computed=*/true);
  metrics.step_done(reports, /*computed=*/true);
  EXPECT_THAT(text(metrics), HasSubstr("\nlockstep_gpu_rows_chosen_on_host_total 8\n"));
}

TEST(Metrics, CountDraftsOnOneRankOfTheLastStage) {
  Metrics metrics(2);
  std::vector<comm::StepReport> reports(2);
  reports[1].rank = 1;
  reports[0].drafts = reports[1].drafts = 7;  // every stage computes them, the last one draws
  reports[1].accepted_drafts = 3;
  metrics.step_done(reports, /*computed=*/true);
  metrics.step_done(reports, /*computed=*/true);
  EXPECT_THAT(text(metrics),
              AllOf(HasSubstr("\nlockstep_spec_decode_num_draft_tokens_total 14\n"),
                    HasSubstr("\nlockstep_spec_decode_num_accepted_tokens_total 6\n")));
}

TEST(Metrics, CountTokensAsTheyCome) {
  Metrics metrics(1);
  RequestTimes times;
  times.first_scheduled = times.first_token = times.last_token = Clock::time_point{};
  metrics.first_token(times, /*num_prompt_tokens=*/7);
  metrics.next_token(0.1);
  EXPECT_THAT(text(metrics), AllOf(HasSubstr("\nlockstep_prompt_tokens_total 7\n"),
                                   HasSubstr("\nlockstep_generation_tokens_total 2\n")));
  metrics.request_done(times, Clock::time_point{}, FinishReason::length);
  EXPECT_THAT(text(metrics), AllOf(HasSubstr("\nlockstep_prompt_tokens_total 7\n"),
                                   HasSubstr("\nlockstep_generation_tokens_total 2\n")));
}

TEST(Metrics, ObserveNoHeartbeatAsAStep) {
  Metrics metrics(1);
  metrics.step_done({comm::StepReport{}}, /*computed=*/false);
  EXPECT_THAT(text(metrics), HasSubstr("\nlockstep_step_seconds_count 0\n"));
  metrics.step_done({comm::StepReport{}}, /*computed=*/true);
  EXPECT_THAT(text(metrics), HasSubstr("\nlockstep_step_seconds_count 1\n"));
}

TEST(Metrics, SayHowTheReplicaComputes) {
  Metrics metrics(1, {{"device", "cpu"}, {"kernels", "avx2"}});
  EXPECT_THAT(text(metrics),
              HasSubstr("\nlockstep_replica_info{device=\"cpu\",kernels=\"avx2\"} 1\n"));
}

TEST(Metrics, CountTheCoordinatorsWorkForRank0Alone) {
  Metrics metrics(2);
  metrics.coordinator_worked(0.5);
  metrics.coordinator_worked(0.25);
  const std::string all = text(metrics);
  EXPECT_THAT(all, HasSubstr(part("coordinator", "0", "0.75")));
  EXPECT_THAT(all, ::testing::Not(HasSubstr("part=\"coordinator\",rank=\"1\"")));
}

}  // namespace
}  // namespace lockstep::coordinator
