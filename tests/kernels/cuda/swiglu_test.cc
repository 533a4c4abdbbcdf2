#include "kernels/cuda/swiglu.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

class CudaSwiglu : public OnTestGpu {};

TEST_F(CudaSwiglu, EqualsTheFormula) {
  for (const auto& [rows, columns] : {std::pair(1, 4), {3, 36}, {2, 1028}, {17, 96}}) {
    const std::int64_t stride = 2 * columns;  // gate and up side by side
    auto gate_up = random_floats(static_cast<std::size_t>(rows * stride), 1, 5.0f);
    gate_up[0] = 100.0f;  // e^-100 is no longer a normal number
    gate_up[1] = -100.0f;
    TestGpu memory;
    const float* gate = memory.constant(gate_up, "gate and up");
    const SwigluArgs args{
        .gate = gate,
        .up = gate + columns,
        .stride = stride,
        .out = memory.blank<std::uint16_t>(static_cast<std::size_t>(rows * columns), "out"),
        .rows = rows,
        .columns = columns};
    memory.gpu().run(args);
    const auto out = memory.values(args.out);
    for (int i = 0; i < rows * columns; ++i) {
      const auto at = static_cast<std::size_t>(i / columns * stride + i % columns);
      const double g = gate_up[at];
      const double expected = g / (1.0 + std::exp(-g)) * gate_up[at + std::size_t(columns)];
      EXPECT_NEAR(bf16_to_float(out[static_cast<std::size_t>(i)]), expected,
                  std::fabs(expected) * 0x1.02p-8 + 1e-30)
          << i;
    }
  }
}

TEST_F(CudaSwiglu, PassesOnWhatIsNotANumber) {
  TestGpu memory;
  const auto gate = random_floats(4, 1);
  const SwigluArgs args{
      .gate = memory.constant(std::vector{gate[0], std::nanf(""), 1.0f, 2.0f}, "gate"),
      .up = memory.constant(gate, "up"),
      .stride = 4,
      .out = memory.blank<std::uint16_t>(4, "out"),
      .rows = 1,
      .columns = 4};
  memory.gpu().run(args);
  const auto out = memory.values(args.out);
  EXPECT_FALSE(std::isnan(bf16_to_float(out[0])));
  EXPECT_TRUE(std::isnan(bf16_to_float(out[1])));
}

}  // namespace
}  // namespace lockstep::kernels::cuda
