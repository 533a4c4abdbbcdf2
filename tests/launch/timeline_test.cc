#include "launch/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace lockstep::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

class TimelineTest : public ::testing::Test {
 protected:
  TimelineTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ / "trace.json";
  }
  ~TimelineTest() override { std::filesystem::remove_all(folder_); }

  TimelineOptions options(std::int32_t steps, std::int32_t skip) const {
    return {.path = path_, .steps = steps, .skip = skip};
  }

  static void run_steps(Timeline& timeline, int first, int last) {
    for (int i = first; i <= last; ++i) {
      { const TraceSpan span(&timeline.tracer(), {"shard", "step", "step", i}); }
      timeline.step_done();
    }
  }

  // The numbers of a rank's steps in the file.
  std::vector<int> steps_in_file(int rank) const {
    std::ifstream file(path_);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    std::vector<int> steps;
    for (const auto& event : nlohmann::json::parse(text)) {
      if (event["ph"] == "X" && event["pid"] == rank) steps.push_back(event["args"]["number"]);
    }
    return steps;
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(TimelineTest, HoldsTheStepsAfterThoseToBeSkippedOfAllRanks) {
  Timeline first(options(3, 2), 0, /*begins_file=*/true);
  Timeline second(options(3, 2), 1, /*begins_file=*/false);
  run_steps(second, 1, 9);
  run_steps(first, 1, 4);
  EXPECT_THAT(steps_in_file(0), IsEmpty());
  run_steps(first, 5, 9);
  EXPECT_THAT(steps_in_file(0), ElementsAre(3, 4, 5));
  EXPECT_THAT(steps_in_file(1), ElementsAre(3, 4, 5));
}

TEST_F(TimelineTest, BeginsAtOnceWhenNothingIsSkipped) {
  Timeline timeline(options(2, 0), 0, true);
  run_steps(timeline, 1, 5);
  EXPECT_THAT(steps_in_file(0), ElementsAre(1, 2));
}

TEST_F(TimelineTest, HoldsWhatThereIsWhenTheReplicaEndsEarlier) {
  {
    Timeline timeline(options(10, 1), 0, true);
    run_steps(timeline, 1, 3);
  }
  EXPECT_THAT(steps_in_file(0), ElementsAre(2, 3));
}

TEST_F(TimelineTest, ReplacesAnOlderFile) {
  std::ofstream(path_) << std::string(5000, 'x');
  { Timeline timeline(options(10, 1), 0, true); }
  EXPECT_THAT(steps_in_file(0), IsEmpty());
}

TEST_F(TimelineTest, NamesAFileThatCannotBeWritten) {
  path_ = folder_ / "missing" / "trace.json";
  EXPECT_THAT([&] { Timeline(options(1, 0), 0, true); },
              ThrowsMessage<Error>(HasSubstr(path_ + ": No such file")));
}

TEST_F(TimelineTest, LosesItsStepsAndNothingElseWhenTheFileCannotBeWrittenInTheEnd) {
  Timeline timeline(options(1, 0), 0, true);
  std::filesystem::remove_all(folder_);
  run_steps(timeline, 1, 2);
  EXPECT_EQ(timeline.tracer().num_spans(), 0u);
}

}  // namespace
}  // namespace lockstep::launch
