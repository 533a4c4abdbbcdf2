#include "kernels/cuda/segment_sum.h"

#include <gtest/gtest.h>

#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

std::vector<float> summed(const std::vector<float>& segments,
                          const std::vector<std::int32_t>& merges) {
  TestGpu memory;
  const std::size_t values = segments.size() / merges.size();
  const SegmentSumArgs args{.sum = {.segments = memory.constant(segments, "segments"),
                                    .stride = static_cast<std::int64_t>(values),
                                    .count = static_cast<std::int32_t>(merges.size()),
                                    .merges = memory.constant(merges, "merges")},
                            .out = memory.blank<float>(values, "out"),
                            .values = static_cast<std::int64_t>(values)};
  memory.gpu().run(args);
  return memory.values(args.out);
}

class CudaSegmentSum : public OnTestGpu {};

TEST_F(CudaSegmentSum, AddsInTheOrderOfTheTree) {
  for (const std::size_t values : {4u, 1020u, 1024u, 2052u}) {
    const auto segments = random_floats(5 * values, 1, 1000.0f);
    // ((a + b) + c) + (d + e), and a sum in another order to see that the order counts.
    const auto tree = summed(segments, {0, 1, 1, 0, 2});
    const auto line = summed(segments, {0, 1, 1, 1, 1});
    const auto at = [&](std::size_t segment, std::size_t i) {
      return segments[segment * values + i];
    };
    bool differ = false;
    for (std::size_t i = 0; i < values; ++i) {
      const float first = (at(0, i) + at(1, i)) + at(2, i);
      EXPECT_EQ(tree[i], first + (at(3, i) + at(4, i)));
      EXPECT_EQ(line[i], (first + at(3, i)) + at(4, i));
      differ |= tree[i] != line[i];
    }
    EXPECT_TRUE(differ || values == 4);
  }
}

TEST_F(CudaSegmentSum, LeavesASingleSegmentAsItIs) {
  const auto segment = random_floats(36, 1);
  EXPECT_EQ(bits(summed(segment, {0})), bits(segment));
}

}  // namespace
}  // namespace lockstep::kernels::cuda
