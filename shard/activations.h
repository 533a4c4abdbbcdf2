// Rows of activations and the products they enter.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/thread_pool.h"

namespace lockstep::shard {

// [rows, columns] in f32, with an eight-bit copy for quantized weights.
class Activations {
 public:
  Activations(std::int64_t max_rows, std::int64_t columns);

  std::int64_t columns() const { return columns_; }
  float* row(std::int64_t row) { return values_.as<float>() + row * columns_; }
  const float* row(std::int64_t row) const { return values_.as<float>() + row * columns_; }

  // Makes the eight-bit copy of rows [begin, end).
  void quantize(const kernels::cpu::KernelTable& kernels, std::int64_t begin, std::int64_t end);
  kernels::cpu::QuantizedRows quantized_row(std::int64_t row) const;

 private:
  std::int64_t columns_;
  kernels::AlignedBuffer values_;
  mutable kernels::AlignedBuffer bytes_, scales_, sums_;
};

// One weight matrix and where its product goes: out[segment][row][n], rows `row_stride` apart,
// segments `segment_stride` apart.
struct Product {
  const kernels::PackedMatrix* weights;
  float* out;
  std::int64_t row_stride;
  std::int64_t segment_stride = 0;
};

// Computes x[0, rows) * W^T for every product, all summed along K as `lanes` says; the row blocks
// of all of them are shared out over the pool.
void multiply(kernels::ThreadPool& pool, const kernels::cpu::KernelTable& kernels,
              const Activations& x, std::int64_t rows, const kernels::LaneProgram& lanes,
              std::span<const Product> products);

}  // namespace lockstep::shard
