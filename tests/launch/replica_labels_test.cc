#include "launch/replica_labels.h"

#include <gtest/gtest.h>

#include "launch/version.h"

namespace lockstep::launch {
namespace {

RankPlace place_of(int ranks, int stages) {
  return {.stage_ranks = {0, ranks}, .stage = {0, stages}, .layers = {0, 1}};
}

TEST(ReplicaLabels, OfCpusSayEveryWayTaken) {
  const CpuWays ways{.family = kernels::CpuFamily::avx2,
                     .activations = kernels::ActivationFormat::int8,
                     .sums_in_place = true,
                     .threads_bound = false};
  EXPECT_EQ(replica_labels(place_of(2, 3), ways), (Labels{{"version", kVersion},
                                                          {"tensor_parallel", "2"},
                                                          {"pipeline_parallel", "3"},
                                                          {"device", "cpu"},
                                                          {"kernels", "avx2"},
                                                          {"activations", "int8"},
                                                          {"sums", "in_place"},
                                                          {"threads", "unbound"}}));
  EXPECT_EQ(replica_labels(place_of(1, 1), ways).at("sums"), "none");
}

TEST(ReplicaLabels, OfGpusSayHowManyWindowsThereAre) {
  ServeOptions options;
  options.products = "cublaslt";
  const GpuWays ways{.architecture = "sm90",
                     .attention = kernels::cuda::AttentionBackend::flashinfer,
                     .sums = comm::AllReduce::nccl,
                     .windows = {.asked = 3, .made = 2}};
  EXPECT_EQ(replica_labels(place_of(4, 1), options, ways), (Labels{{"version", kVersion},
                                                                   {"tensor_parallel", "4"},
                                                                   {"pipeline_parallel", "1"},
                                                                   {"device", "cuda"},
                                                                   {"kernels", "sm90"},
                                                                   {"attention", "flashinfer"},
                                                                   {"products", "cublaslt"},
                                                                   {"sums", "nccl"},
                                                                   {"nccl_windows", "2/3"}}));
}

}  // namespace
}  // namespace lockstep::launch
