// Rows of activations and the products they enter.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/thread_pool.h"

namespace lockstep::shard {

// Which form of activations enters the product with some weights: --activations.
class ActivationChoice {
 public:
  // Each product's natural form.
  constexpr ActivationChoice() = default;
  // `wanted` where it suits the weights, else their natural form.
  constexpr explicit ActivationChoice(kernels::ActivationFormat wanted) : wanted_(wanted) {}

  kernels::ActivationFormat operator()(const kernels::PackedMatrix& weights) const {
    return wanted_ && kernels::suits(*wanted_, weights.format(), weights.layout())
               ? *wanted_
               : kernels::natural_activations(weights.format(), weights.layout());
  }

  // How weights are to be packed for a family that wants those that it multiplies by bf16 in
  // `bf16_layout`.
  kernels::PackedLayout layout(kernels::PackedFormat weights,
                               kernels::PackedLayout bf16_layout) const {
    using enum kernels::ActivationFormat;
    if (!kernels::suits(bf16, weights)) return kernels::PackedLayout::interleaved;
    const auto form = wanted_ && kernels::suits(*wanted_, weights)
                          ? *wanted_
                          : kernels::natural_activations(weights, bf16_layout);
    return form == bf16 ? bf16_layout : kernels::PackedLayout::interleaved;
  }

 private:
  std::optional<kernels::ActivationFormat> wanted_;
};

// The rounded forms that some products need of their activations. bf16 and tiles, of which no
// activations need both, share their memory.
struct RoundedForms {
  bool bf16 = false;
  bool int8 = false;
  bool tiles = false;

  // Rows that are rounded together.
  std::int64_t rows() const { return tiles ? kernels::cpu::kTileTokens : 1; }
};

// [rows, columns] in f32, with copies in bf16 and int8 for the products that take them.
class Activations {
 public:
  // `has_wide_groups`: the bytes' (kernels/cpu/kernel_table.h). REQUIRES then: every rank has the
  // same columns, and rounds whole rows.
  Activations(std::int64_t max_rows, std::int64_t columns, bool has_wide_groups = false);

  // Memory that such activations take, and what these have.
  static std::size_t bytes(std::int64_t max_rows, std::int64_t columns);
  std::size_t bytes() const;

  std::int64_t columns() const { return columns_; }
  float* row(std::int64_t row) { return values_.as<float>() + row * columns_; }
  const float* row(std::int64_t row) const { return values_.as<float>() + row * columns_; }

  // Makes the rounded copies of columns [column, column + columns) of rows [begin, end).
  // REQUIRES: columns are multiples of 32; for tiles, rows begin and end where tiles do, or at the
  // end of the batch.
  void round(const kernels::cpu::KernelTable& kernels, RoundedForms forms, std::int64_t begin,
             std::int64_t end, std::int64_t column, std::int64_t columns);
  void round(const kernels::cpu::KernelTable& kernels, RoundedForms forms, std::int64_t begin,
             std::int64_t end) {
    round(kernels, forms, begin, end, 0, columns_);
  }

  // All forms, from (row, column) on; tiles from that of the row on.
  kernels::cpu::ActivationRows view(std::int64_t row = 0, std::int64_t column = 0) const;

 private:
  std::int64_t columns_;
  bool has_wide_groups_;
  std::int64_t rounded_stride_;
  std::int64_t group_stride_;
  mutable kernels::AlignedBuffer values_, halves_, half_sums_;
  mutable kernels::AlignedBuffer bytes_, low_, scales_, offsets_, biases_, low_biases_, wide_;
};

// Shares rows [0, rows) out over `pool`: body(begin, end), such that each may be rounded in
// `forms`.
template <class Body>
void for_rows(kernels::ThreadPool& pool, std::int64_t rows, RoundedForms forms, const Body& body) {
  const std::int64_t together = forms.rows();
  pool.for_ranges((rows + together - 1) / together, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    body(begin * together, std::min(end * together, rows));
  });
}

// One weight matrix and where its product goes: out[segment][row][n], rows `row_stride` apart,
// segments `segment_stride` apart.
struct Product {
  const kernels::PackedMatrix* weights = nullptr;
  float* out = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t segment_stride = 0;
};

// What all products of a rank share.
struct Compute {
  kernels::ThreadPool* pool;
  const kernels::cpu::KernelTable* kernels;
  ActivationChoice activations;

  RoundedForms rounded_forms(std::initializer_list<const kernels::PackedMatrix*> all_weights) const;
  RoundedForms rounded_forms(std::span<const kernels::PackedMatrix> all_weights) const;
};

// inner = silu(x * gate^T) * (x * up^T) of `rows` rows, in the forms that the product with `down`
// takes; the columns are shared out over the pool. `up` is `gate` where both are interleaved in one
// matrix (weights.h).
void multiply_swiglu(const Compute& compute, const Activations& x, std::int64_t rows,
                     const kernels::LaneProgram& lanes, const kernels::PackedMatrix& gate,
                     const kernels::PackedMatrix& up, const kernels::PackedMatrix& down,
                     Activations& inner);

// Computes x[0, rows) * W^T for every product, all summed along K as `lanes` says; the row blocks
// of all of them are shared out over the pool.
void multiply(const Compute& compute, const Activations& x, std::int64_t rows,
              const kernels::LaneProgram& lanes, std::span<const Product> products);

}  // namespace lockstep::shard
