#include "kernels/cuda/matmul.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/graph.h"
#include "kernels/cuda/matmul_choice.h"
#include "kernels/half.h"
#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::kernels::cuda {
namespace {

using device::MatmulAlgorithms;
using device::MatmulOutput;
using device::MatmulShape;
using testing::HasSubstr;
using Bf16s = std::vector<std::uint16_t>;

constexpr int kMaxRows = 512;

MatmulShape shape_of(int n, int k, MatmulOutput output = MatmulOutput::f32) {
  return {.n = n, .k = k, .x_stride = k, .w_stride = k, .max_rows = kMaxRows, .output = output};
}

Bf16s random_bf16(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Bf16s values(count);
  for (auto& value : values) value = float_to_bf16(normal(generator));
  return values;
}

class CudaMatmul : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (IsSkipped()) return;
    cublas_.emplace(pool());
    algorithms_.emplace("", cublas_->machine());
  }
  CublasLt& cublas() { return *cublas_; }
  MatmulAlgorithms& algorithms() { return *algorithms_; }

  Matmul matmul(const MatmulShape& shape) {
    return {cublas(), shape, choose_algorithm(cublas(), shape, algorithms(), stream())};
  }

  // The first `rows` rows of the product, in its output's bytes. The padding of x is NaN.
  std::vector<std::byte> product(const Matmul& matmul, const Bf16s& x, const Bf16s& w, int rows) {
    const MatmulShape& shape = matmul.shape();
    const auto padded = static_cast<std::size_t>(Matmul::padded_rows(rows));
    const std::size_t width =
        static_cast<std::size_t>(shape.n) * (shape.output == MatmulOutput::f32 ? sizeof(float) : 2);
    Bf16s padded_x(padded * static_cast<std::size_t>(shape.x_stride), 0x7fc0);
    std::copy_n(x.begin(), rows * shape.x_stride, padded_x.begin());
    DeviceBuffer<std::uint16_t> device_x(pool(), "x", padded_x.size());
    DeviceBuffer<std::uint16_t> device_w(pool(), "w", w.size());
    const DeviceBuffer<std::byte> device_y(pool(), "y", padded * width);
    device_x.upload(padded_x, stream());
    device_w.upload(w, stream());
    matmul.run(device_x.data(), device_w.data(), device_y.data(), rows, stream());
    std::vector<std::byte> y(static_cast<std::size_t>(rows) * width);
    device_y.download(y, stream());
    stream().synchronize();
    return y;
  }

  // Each element against the sum in double precision: f32 sums of k products of 16 bits each lose
  // at most k roundings of the sum of magnitudes.
  void expect_near_double(const MatmulShape& shape, int rows) {
    const Bf16s x = random_bf16(static_cast<std::size_t>(rows) * shape.x_stride, 1);
    const Bf16s w = random_bf16(static_cast<std::size_t>(shape.n) * shape.w_stride, 2);
    const std::vector<std::byte> y = product(matmul(shape), x, w, rows);
    const bool f32 = shape.output == MatmulOutput::f32;
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < shape.n; ++column) {
        double sum = 0;
        double magnitude = 0;
        for (int i = 0; i < shape.k; ++i) {
          const double term = static_cast<double>(bf16_to_float(x[row * shape.x_stride + i])) *
                              bf16_to_float(w[column * shape.w_stride + i]);
          sum += term;
          magnitude += std::abs(term);
        }
        const std::size_t at = static_cast<std::size_t>(row) * shape.n + column;
        float got = 0;
        std::uint16_t half = 0;
        if (f32) {
          std::memcpy(&got, y.data() + at * sizeof got, sizeof got);
        } else {
          std::memcpy(&half, y.data() + at * sizeof half, sizeof half);
          got = bf16_to_float(half);
        }
        const double bound = magnitude * shape.k * 0x1p-23 + (f32 ? 0 : std::abs(sum) * 0x1p-8);
        ASSERT_NEAR(got, sum, bound) << "row " << row << ", column " << column;
      }
    }
  }

 private:
  std::optional<CublasLt> cublas_;
  std::optional<MatmulAlgorithms> algorithms_;
};

TEST_F(CudaMatmul, IsNearTheSumInDoublePrecision) {
  expect_near_double(shape_of(8, 64), 1);
  expect_near_double(shape_of(264, 576), 67);
  expect_near_double(shape_of(1024, 1536), 128);
  expect_near_double(shape_of(264, 576, MatmulOutput::bf16), 67);
}

TEST_F(CudaMatmul, ReadsAPartOfWiderRows) {
  MatmulShape shape = shape_of(136, 192);
  shape.x_stride = 576;
  shape.w_stride = 1536;
  expect_near_double(shape, 33);
}

TEST_F(CudaMatmul, GivesARowTheSameBitsAmongAnyNumberOfRows) {
  for (const MatmulOutput output : {MatmulOutput::f32, MatmulOutput::bf16}) {
    const MatmulShape shape = shape_of(1024, 576, output);
    const Matmul product_of = matmul(shape);
    const Bf16s x = random_bf16(kMaxRows * 576, 3);
    const Bf16s w = random_bf16(1024 * 576, 4);
    const std::vector<std::byte> all = product(product_of, x, w, kMaxRows);
    const std::size_t width = all.size() / kMaxRows;
    for (const int rows : {1, 7, 64, 65}) {
      for (const int first : {0, 100, kMaxRows - rows}) {
        const Bf16s part(x.begin() + first * 576, x.begin() + (first + rows) * 576);
        const std::vector<std::byte> y = product(product_of, part, w, rows);
        EXPECT_EQ(std::memcmp(y.data(), all.data() + first * width, y.size()), 0)
            << rows << " rows from " << first << ", "
            << (output == MatmulOutput::f32 ? "f32" : "bf16");
      }
    }
  }
}

// A rank of two has half the columns: its product is another shape with another algorithm.
TEST_F(CudaMatmul, GivesAColumnTheSameBitsAmongAnyNumberOfColumns) {
  constexpr int kK = 1024;
  constexpr int kRows = 64;
  const Bf16s x = random_bf16(kRows * kK, 5);
  const Bf16s w = random_bf16(2048 * kK, 6);
  const std::vector<std::byte> all = product(matmul(shape_of(2048, kK)), x, w, kRows);
  for (const int n : {8, 512, 1024}) {
    const Bf16s part(w.end() - n * kK, w.end());
    const std::vector<std::byte> y = product(matmul(shape_of(n, kK)), x, part, kRows);
    for (int row = 0; row < kRows; ++row) {
      EXPECT_EQ(
          std::memcmp(y.data() + row * n * sizeof(float),
                      all.data() + (row * 2048 + 2048 - n) * sizeof(float), n * sizeof(float)),
          0)
          << n << " columns, row " << row;
    }
  }
}

TEST_F(CudaMatmul, IsChosenOncePerShape) {
  const MatmulShape shape = shape_of(512, 576);
  const auto first = choose_algorithm(cublas(), shape, algorithms(), stream());
  EXPECT_GT(first.microseconds, 0);
  EXPECT_EQ(algorithms().find(shape), first);
  EXPECT_EQ(choose_algorithm(cublas(), shape, algorithms(), stream()), first);
  EXPECT_EQ(pool().ledger().used("choosing algorithms"), 0u);
}

TEST_F(CudaMatmul, RunsInAGraph) {
  const MatmulShape shape = shape_of(512, 576);
  const Matmul product_of = matmul(shape);
  const Bf16s x = random_bf16(64 * 576, 7);
  const Bf16s w = random_bf16(512 * 576, 8);
  const std::vector<std::byte> expected = product(product_of, x, w, 64);
  DeviceBuffer<std::uint16_t> device_x(pool(), "x", x.size());
  DeviceBuffer<std::uint16_t> device_w(pool(), "w", w.size());
  DeviceBuffer<std::byte> device_y(pool(), "y", expected.size());
  device_x.upload(x, stream());
  device_w.upload(w, stream());
  device_y.clear(stream());
  stream().synchronize();
  const Graph graph = Graph::capture(stream(), [&] {
    product_of.run(device_x.data(), device_w.data(), device_y.data(), 64, stream());
  });
  graph.launch(stream());
  std::vector<std::byte> y(expected.size());
  device_y.download(y, stream());
  stream().synchronize();
  EXPECT_EQ(y, expected);
}

TEST_F(CudaMatmul, NamesTheLimitThatAShapeBreaks) {
  MatmulShape shape = shape_of(100, 64);
  EXPECT_THAT(error_of([&] { Matmul(cublas(), shape, {}); }),
              HasSubstr("n must be a multiple of 8"));
  shape = shape_of(64, 64);
  shape.w_stride = 63;
  EXPECT_THAT(error_of([&] { Matmul(cublas(), shape, {}); }), HasSubstr("w_stride"));
  const Matmul product_of = matmul(shape_of(64, 64));
  EXPECT_THAT(error_of([&] { product_of.run(nullptr, nullptr, nullptr, 513, stream()); }),
              HasSubstr("513 rows are not in 1 to 512"));
}

TEST_F(CudaMatmul, RefusesAnAlgorithmThatIsNone) {
  device::MatmulAlgorithm none;
  none.words.fill(~0ull);
  EXPECT_THAT(error_of([&] { Matmul(cublas(), shape_of(64, 64), none); }),
              HasSubstr("does not suit"));
}

}  // namespace
}  // namespace lockstep::kernels::cuda
