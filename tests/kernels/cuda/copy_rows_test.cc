#include "kernels/cuda/copy_rows.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

class CudaCopyRows : public OnTestGpu {};

TEST_F(CudaCopyRows, CopiesEveryPieceAndNothingElse) {
  const auto from = random_floats(20000, 1);
  const std::vector<RowPiece> pieces = {{0, 9000, 1}, {17, 1, 6001}, {9999, 9990, 0}, {3, 9001, 7}};
  std::vector<float> expected(9100, -5.0f);
  for (const RowPiece& piece : pieces) {
    std::copy_n(from.begin() + piece.from_offset, piece.count, expected.begin() + piece.to_offset);
  }
  TestGpu gpu;
  const CopyRowsArgs args{.from = gpu.constant(from, "from"),
                          .to = gpu.variable(std::vector<float>(9100, -5.0f), "to"),
                          .pieces = gpu.constant(pieces, "pieces"),
                          .count = 4,
                          .longest = 6001};
  gpu.gpu().run(args);
  EXPECT_EQ(gpu.values(args.to), expected);
}

}  // namespace
}  // namespace lockstep::kernels::cuda
