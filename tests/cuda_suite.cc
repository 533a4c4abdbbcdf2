// The tests that need a GPU; without one, each is skipped by name. The ranks of the NCCL tests are
// this program again, started with "rank" as its first argument.
#include <gtest/gtest.h>

#include <string_view>

#include "tests/comm/cuda/rank_program.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "rank") {
    return lockstep::comm::cuda::run_rank({argv + 2, argv + argc});
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
