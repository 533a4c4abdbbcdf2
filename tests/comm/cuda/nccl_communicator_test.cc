// Ranks as processes: this program again, with what they do in rank_program.cc. They share one GPU
// where there are fewer GPUs than ranks.
#include "comm/cuda/nccl_communicator.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::comm::cuda {
namespace {

class NcclCommunicatorOfProcesses : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = kernels::cuda::why_no_device(); !reason.empty()) {
      GTEST_SKIP() << reason;
    }
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  // Runs a scenario on so many ranks, each of which must end with 0 in time.
  void run(const std::string& scenario, int ranks) {
    std::vector<pid_t> processes;
    for (int rank = 0; rank < ranks; ++rank) processes.push_back(start(scenario, rank, ranks));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    for (std::size_t rank = 0; rank < processes.size(); ++rank) {
      int status = 0;
      pid_t ended = 0;
      while ((ended = waitpid(processes[rank], &status, WNOHANG)) == 0 &&
             std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      if (ended == 0) {
        kill(processes[rank], SIGKILL);
        waitpid(processes[rank], &status, 0);
        ADD_FAILURE() << "rank " << rank << " did not end";
      }
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
          << "rank " << rank << " of " << ranks << ", " << scenario << ": status " << status;
    }
  }

 private:
  pid_t start(const std::string& scenario, int rank, int ranks) const {
    std::vector<std::string> arguments{"cuda_suite",
                                       "rank",
                                       scenario,
                                       std::to_string(rank),
                                       std::to_string(ranks),
                                       (folder_ / "id").string()};
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    pid_t process = 0;
    EXPECT_EQ(posix_spawn(&process, "/proc/self/exe", nullptr, nullptr, pointers.data(), environ),
              0);
    return process;
  }

  std::filesystem::path folder_;
};

TEST_F(NcclCommunicatorOfProcesses, MovesEveryByteBetweenTwoRanks) { run("collectives", 2); }

TEST_F(NcclCommunicatorOfProcesses, MovesEveryByteBetweenFourRanks) { run("collectives", 4); }

TEST_F(NcclCommunicatorOfProcesses, WorksInAGraphOfTwoRanks) { run("graph", 2); }

TEST_F(NcclCommunicatorOfProcesses, WorksInAGraphOfFourRanks) { run("graph", 4); }

TEST_F(NcclCommunicatorOfProcesses, GathersBetweenWindows) { run("windows", 2); }

TEST_F(NcclCommunicatorOfProcesses, SaysThatARankDidNotComeToMakeAWindow) {
  run("missing_window", 2);
}

TEST_F(NcclCommunicatorOfProcesses, SaysWhereItWasWhenARankStaysAway) { run("missing", 2); }

TEST_F(NcclCommunicatorOfProcesses, SaysWhenARankDoesNotStart) { run("absent", 2); }

TEST_F(NcclCommunicatorOfProcesses, WriteToEachOthersMemoryByCudaIpc) { run("ipc", 4); }

TEST_F(NcclCommunicatorOfProcesses, SumByKernelsInEachOthersMemory) {
  run("peers", 2);
  run("peers", 4);
}

TEST_F(NcclCommunicatorOfProcesses, SayWhichRankAKernelHasMissed) { run("peer_missing", 2); }

TEST_F(NcclCommunicatorOfProcesses, NeedsNobodyInAWorldOfOne) { run("alone", 1); }

TEST_F(NcclCommunicatorOfProcesses, WaitsLongerForWorkThatGoesOn) { run("goes_on", 1); }

}  // namespace
}  // namespace lockstep::comm::cuda
