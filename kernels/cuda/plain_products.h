// Products of weights in plain rows, for any number of rows of activations, as the forward pass
// sees them. Plain C++: matmul.h has cublasLt's body, tests/kernels/cuda/executed_gpu.h the
// executor's.
#pragma once

#include <cstdint>
#include <memory>

namespace lockstep::kernels::cuda {

// Products are computed in whole granules of rows.
inline constexpr std::int32_t kRowGranule = 64;
constexpr std::int32_t whole_granules(std::int32_t rows) {
  return (rows + kRowGranule - 1) / kRowGranule * kRowGranule;
}
// Weights have a multiple of so many rows.
inline constexpr std::int32_t kPlainRows = 8;

// out[rows, n] = x[rows, k] * transpose(w[n, k]): bf16 in, f32 out, summed in f32. The order of a
// sum depends on k alone.
class PlainProduct {
 public:
  virtual ~PlainProduct() = default;
  // Puts the product in line. x and out have room for whole_granules(rows) rows: those from `rows`
  // on may hold anything, and out's hold nothing of use after it.
  virtual void run(const std::uint16_t* x, const std::uint16_t* w, float* out,
                   std::int32_t rows) = 0;
};

class PlainProducts {
 public:
  virtual ~PlainProducts() = default;
  // Of weights [n, k], for up to max_rows rows. n is a multiple of kPlainRows, k of 32. May
  // measure, for which it takes memory of the device for a while. Throws Error naming the shape
  // when no algorithm keeps its order of summation.
  virtual std::unique_ptr<PlainProduct> make(std::int32_t n, std::int32_t k,
                                             std::int32_t max_rows) = 0;
  // Keeps what was measured for the next start, where there is a file for it.
  virtual void save() = 0;
};

}  // namespace lockstep::kernels::cuda
