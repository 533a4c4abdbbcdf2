// Norms, activations, rotary embedding and rounding to bf16, for every family S.
// REQUIRES everywhere: lengths are multiples of 16 (rope: head_dim of 32).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace lockstep::kernels::cpu {

template <class S>
void rms_norm(const float* x, const float* weight, float eps, std::int64_t columns, float* out) {
  auto squares = S::zero();
  for (std::int64_t k = 0; k < columns; k += 16) {
    const auto value = S::load(x + k);
    squares = S::fma(value, value, squares);
  }
  const float mean = S::sum(squares) / static_cast<float>(columns);
  const auto inverse = S::set(1.0f / std::sqrt(mean + eps));
  for (std::int64_t k = 0; k < columns; k += 16) {
    S::store(out + k, S::mul(S::mul(S::load(x + k), inverse), S::load(weight + k)));
  }
}

template <class S>
void silu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  const auto one = S::set(1.0f);
  for (std::int64_t i = 0; i < n; i += 16) {
    const auto g = S::load(gate + i);
    // sigmoid(g) = e^min(g,0) / (1 + e^-|g|): one exponential, and no positive exponent.
    const auto decay = exp_nonpositive<S>(S::sub(S::zero(), S::abs(g)));
    const auto numerator = S::select_negative(g, decay, one);
    const auto denominator = S::add(one, decay);
    S::store(out + i, S::mul(S::mul(g, S::div(numerator, denominator)), S::load(up + i)));
  }
}

template <class S>
void add(const float* a, const float* b, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; i += 16)
    S::store(out + i, S::add(S::load(a + i), S::load(b + i)));
}

// Rotates pairs (i, i + head_dim / 2): Hugging Face's layout. cos and sin: [head_dim / 2].
template <class S>
void rope(float* head, const float* cos, const float* sin, std::int64_t head_dim) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; i += 16) {
    const auto a = S::load(head + i);
    const auto b = S::load(head + half + i);
    const auto c = S::load(cos + i);
    const auto s = S::load(sin + i);
    S::store(head + i, S::sub(S::mul(a, c), S::mul(b, s)));
    S::store(head + half + i, S::add(S::mul(b, c), S::mul(a, s)));
  }
}

// To bf16, to the nearest even, with the sum of every group.
template <class S>
void round_rows(const ActivationRows& x, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* values = x.values + row * x.stride;
    std::uint16_t* halves = x.halves + row * x.half_stride;
    for (std::int64_t k = 0; k < columns; k += kGroup) {
      S::store_bf16(halves + k, S::load(values + k));
      S::store_bf16(halves + k + 16, S::load(values + k + 16));
      x.half_sums[row * x.bytes.group_stride + k / kGroup] =
          S::sum(S::add(S::load_bf16(halves + k), S::load_bf16(halves + k + 16)));
    }
  }
}

// The same into tiles (ActivationTiles), whole ones: S::store_tile(values, rows, stride, tile).
template <class S>
requires requires(std::uint16_t* tile) { S::store_tile(nullptr, 0, 0, tile); }
void tile_rows(const ActivationRows& x, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t row = 0; row < rows; row += kTileTokens) {
    std::uint16_t* tile = x.tiles.values + row / kTileTokens * x.tiles.row_stride;
    for (std::int64_t k = 0; k < columns; k += kGroup, tile += kTileTokens * kGroup) {
      S::store_tile(x.values + row * x.stride + k, std::min(rows - row, kTileTokens), x.stride,
                    tile);
    }
  }
}

}  // namespace lockstep::kernels::cpu
