#include "coordinator/report_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::coordinator {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t kEpoch = 4;
const Clock::time_point kStart{1000s};

comm::StepReport report(std::uint64_t step, std::int32_t rank, std::uint64_t digest = 0xabc) {
  comm::StepReport r;
  r.epoch = kEpoch;
  r.sequence_number = step;
  r.rank = rank;
  r.digest = digest;
  return r;
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ReportCollector, CompletesAStepWhenEveryRankHasReported) {
  ReportCollector collector(3, kEpoch, 1s);
  collector.expect(1, kStart);
  EXPECT_FALSE(collector.add(report(1, 2), kStart));
  EXPECT_FALSE(collector.add(report(1, 0), kStart));
  const auto reports = collector.add(report(1, 1), kStart);
  ASSERT_TRUE(reports);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ((*reports)[rank].rank, rank);
  EXPECT_EQ(collector.num_in_flight(), 0u);
  EXPECT_EQ(collector.num_completed(), 1u);
}

TEST(ReportCollector, ComparesDigestsWithinAPipelineStage) {
  ReportCollector collector(4, kEpoch, 1s, 2);
  EXPECT_EQ(collector.first_rank_of_last_stage(), 2);
  collector.expect(1, kStart);
  collector.add(report(1, 0, 0xa), kStart);
  collector.add(report(1, 1, 0xa), kStart);
  collector.add(report(1, 2, 0xb), kStart);
  EXPECT_TRUE(collector.add(report(1, 3, 0xb), kStart));  // only the last stage samples
  collector.expect(2, kStart);
  collector.add(report(2, 0, 0xa), kStart);
  collector.add(report(2, 1, 0xa), kStart);
  collector.add(report(2, 2, 0xb), kStart);
  EXPECT_THAT(error_of([&] { collector.add(report(2, 3, 0xa), kStart); }),
              AllOf(HasSubstr("step 2"), HasSubstr("rank 3 has 0xa"), Not(HasSubstr("rank 0"))));
  EXPECT_THAT(error_of([] { ReportCollector(3, kEpoch, 1s, 2); }),
              HasSubstr("3 cannot be cut in 2 pipeline stages"));
}

TEST(ReportCollector, TakesReportsOfTheNextStepFromAFasterRank) {
  ReportCollector collector(2, kEpoch, 1s);
  collector.expect(1, kStart);
  collector.expect(2, kStart);
  EXPECT_FALSE(collector.add(report(1, 0), kStart));
  EXPECT_FALSE(collector.add(report(2, 0), kStart));
  EXPECT_EQ(collector.add(report(1, 1), kStart)->at(0).sequence_number, 1u);
  EXPECT_EQ(collector.add(report(2, 1), kStart)->at(0).sequence_number, 2u);
}

TEST(ReportCollector, NamesTheRankWhoseDigestDiffersFromTheMajority) {
  ReportCollector collector(3, kEpoch, 1s);
  collector.expect(17, kStart);
  collector.add(report(17, 0, 0xdead), kStart);
  collector.add(report(17, 1, 0xbeef), kStart);
  EXPECT_THAT(error_of([&] { collector.add(report(17, 2, 0xbeef), kStart); }),
              AllOf(HasSubstr("step 17"), HasSubstr("rank 0 has 0xdead"), HasSubstr("0xbeef"),
                    Not(HasSubstr("rank 1"))));
}

TEST(ReportCollector, TakesRankZeroAsRightBetweenTwo) {
  ReportCollector collector(2, kEpoch, 1s);
  collector.expect(1, kStart);
  collector.add(report(1, 1, 0x1), kStart);
  EXPECT_THAT(error_of([&] { collector.add(report(1, 0, 0x2), kStart); }),
              AllOf(HasSubstr("rank 1 has 0x1"), HasSubstr("the others have 0x2")));
}

TEST(ReportCollector, NamesTheRanksThatAreLate) {
  ReportCollector collector(3, kEpoch, 250ms);
  collector.expect(9, kStart);
  collector.add(report(9, 1), kStart);
  EXPECT_NO_THROW(collector.check_deadline(kStart + 250ms));
  EXPECT_THAT(error_of([&] { collector.check_deadline(kStart + 251ms); }),
              AllOf(HasSubstr("step 9"), HasSubstr("250 ms"), HasSubstr("rank 0 2")));
}

TEST(ReportCollector, CountsAStepsTimeFromTheEndOfTheStepBefore) {
  ReportCollector collector(1, kEpoch, 1s);
  collector.expect(1, kStart);
  collector.expect(2, kStart);
  EXPECT_EQ(collector.longest_silence(kStart + 900ms), 900ms);
  collector.add(report(1, 0), kStart + 900ms);
  EXPECT_EQ(collector.longest_silence(kStart + 1800ms), 900ms);
  EXPECT_NO_THROW(collector.check_deadline(kStart + 1800ms));
  EXPECT_THROW(collector.check_deadline(kStart + 1901ms), Error);
}

TEST(ReportCollector, WaitsForARankAsLongAsItShowsThatItIsAtWork) {
  ReportCollector collector(3, kEpoch, 1s);
  comm::StepReport sign = report(1, 0);
  sign.underway = true;
  collector.expect(1, kStart);
  for (int second = 0; second < 100; ++second) {
    const Clock::time_point now = kStart + second * 900ms;
    EXPECT_NO_THROW(collector.check_deadline(now));
    for (sign.rank = 0; sign.rank < 3; ++sign.rank) EXPECT_FALSE(collector.add(sign, now));
  }
  const Clock::time_point last = kStart + 99 * 900ms;
  sign.rank = 1;
  EXPECT_FALSE(collector.add(sign, last + 800ms));
  EXPECT_FALSE(collector.add(report(1, 2), last + 800ms));
  EXPECT_EQ(collector.longest_silence(last + 900ms), 900ms);
  EXPECT_EQ(error_of([&] { collector.check_deadline(last + 1001ms); }),
            "no report of step 1 within 1000 ms from rank 0");
}

TEST(ReportCollector, IsNeverLateWhenNothingIsInFlight) {
  ReportCollector collector(1, kEpoch, 1s);
  EXPECT_NO_THROW(collector.check_deadline(kStart + 1000h));
}

TEST(ReportCollector, IgnoresAnotherLifeOfTheReplica) {
  ReportCollector collector(1, kEpoch, 1s);
  collector.expect(1, kStart);
  comm::StepReport old = report(1, 0);
  old.epoch = kEpoch - 1;
  EXPECT_FALSE(collector.add(old, kStart));
  EXPECT_TRUE(collector.add(report(1, 0), kStart));
}

TEST(ReportCollector, RefusesWhatNobodyAskedFor) {
  ReportCollector collector(2, kEpoch, 1s);
  collector.expect(1, kStart);
  EXPECT_THROW(collector.add(report(1, 2), kStart), Error);
  EXPECT_THROW(collector.add(report(1, -1), kStart), Error);
  EXPECT_THROW(collector.add(report(2, 0), kStart), Error);
  collector.add(report(1, 0), kStart);
  EXPECT_THROW(collector.add(report(1, 0), kStart), Error);
}

}  // namespace
}  // namespace lockstep::coordinator
