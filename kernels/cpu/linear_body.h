// Products x * W^T for every family S, in row blocks of 16 outputs. The sum over K is sequential
// within a lane (kernels/lanes.h), whatever the number of rows: no tile size, thread or batch moves
// a bit.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels::cpu {

// Partial sums of one tile of MT rows by 16 outputs, combined as the lane steps say.
template <class S, int MT>
class LaneStack {
 public:
  void push(const typename S::V (&sums)[MT], std::int32_t merges) {
    for (int i = 0; i < MT; ++i) S::store(sums_[top_][i], sums[i]);
    ++top_;
    for (; merges > 0; --merges, --top_) {
      for (int i = 0; i < MT; ++i) {
        S::store(sums_[top_ - 2][i],
                 S::add(S::load(sums_[top_ - 2][i]), S::load(sums_[top_ - 1][i])));
      }
    }
  }
  // Writes every sum left as one segment.
  void write(const LinearCall& call, std::int64_t row, std::int64_t block) const {
    for (int segment = 0; segment < top_; ++segment) {
      for (int i = 0; i < MT; ++i) {
        S::store(call.out + segment * call.segment_stride + (row + i) * call.row_stride +
                     block * kRowBlock,
                 S::load(sums_[segment][i]));
      }
    }
  }

 private:
  alignas(64) float sums_[kMaxSegments + 1][MT][16];
  int top_ = 0;
};

// Q is one family's integer dot product for one packed format:
//   Q::Weights w(group_bytes);  V w.dot(bytes, byte_sum): exact sums of weight * byte, as floats
//   w.scale(), and w.minimum() where Q::kHasMinimum.
template <class S, class Q, int MT>
void quantized_tile(const LinearCall& call, std::int64_t row, std::int64_t block) {
  const std::int64_t columns = call.weights->columns();
  const std::int64_t groups = call.weights->groups();
  const std::byte* group = call.weights->block(block);
  const std::int8_t* bytes = call.quantized.values + row * columns;
  const float* scales = call.quantized.scales + row * groups;
  const std::int32_t* byte_sums = call.quantized.sums + row * groups;
  LaneStack<S, MT> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[MT];
    for (int i = 0; i < MT; ++i) sums[i] = S::zero();
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g) {
      const typename Q::Weights w(group);
      for (int i = 0; i < MT; ++i) {
        const float scale = scales[i * groups];
        const std::int32_t byte_sum = byte_sums[i * groups];
        const auto dot = S::mul(w.dot(bytes + i * columns, byte_sum), S::set(scale));
        sums[i] = S::fma(dot, w.scale(), sums[i]);
        if constexpr (Q::kHasMinimum) {
          sums[i] = S::fma(S::set(scale * static_cast<float>(byte_sum)), w.minimum(), sums[i]);
        }
      }
      group += Q::kGroupBytes;
      bytes += kGroup;
      ++scales;
      ++byte_sums;
    }
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, row, block);
}

// W reads 16 interleaved float weights: V W::load(bytes, k), W::kBytes of one value.
template <class S, class W, int MT>
void float_tile(const LinearCall& call, std::int64_t row, std::int64_t block) {
  const std::int64_t columns = call.weights->columns();
  const std::byte* weights = call.weights->block(block);
  const float* x = call.x + row * columns;
  LaneStack<S, MT> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[MT];
    for (int i = 0; i < MT; ++i) sums[i] = S::zero();
    const std::int64_t width = std::int64_t{call.steps[step].groups} * kGroup;
    for (std::int64_t k = 0; k < width; ++k) {
      const auto w = W::load(weights + k * kRowBlock * W::kBytes);
      for (int i = 0; i < MT; ++i) sums[i] = S::fma(S::set(x[i * columns + k]), w, sums[i]);
    }
    weights += width * kRowBlock * W::kBytes;
    x += width;
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, row, block);
}

// Walks the tiles of a call: Tile::run<MT>(call, row, block).
template <class Tile>
void walk_tiles(const LinearCall& call) {
  for (std::int64_t block = call.block_begin; block < call.block_end; ++block) {
    std::int64_t row = 0;
    for (; row + 8 <= call.m; row += 8) Tile::template run<8>(call, row, block);
    if (row + 4 <= call.m) {
      Tile::template run<4>(call, row, block);
      row += 4;
    }
    if (row + 2 <= call.m) {
      Tile::template run<2>(call, row, block);
      row += 2;
    }
    if (row < call.m) Tile::template run<1>(call, row, block);
  }
}

template <class S, class Q>
struct QuantizedTile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block) {
    quantized_tile<S, Q, MT>(call, row, block);
  }
};

template <class S, class W>
struct FloatTile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block) {
    float_tile<S, W, MT>(call, row, block);
  }
};

template <class S>
struct Bf16Weights {
  static constexpr int kBytes = 2;
  static typename S::V load(const std::byte* p) {
    return S::load_bf16(reinterpret_cast<const std::uint16_t*>(p));
  }
};
template <class S>
struct F16Weights {
  static constexpr int kBytes = 2;
  static typename S::V load(const std::byte* p) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(p));
  }
};
template <class S>
struct F32Weights {
  static constexpr int kBytes = 4;
  static typename S::V load(const std::byte* p) {
    return S::load(reinterpret_cast<const float*>(p));
  }
};

// Q4 and Q8 are the family's integer dot products.
template <class S, class Q4, class Q8>
void linear(const LinearCall& call) {
  switch (call.weights->format()) {
    case PackedFormat::q4: return walk_tiles<QuantizedTile<S, Q4>>(call);
    case PackedFormat::q8: return walk_tiles<QuantizedTile<S, Q8>>(call);
    case PackedFormat::bf16: return walk_tiles<FloatTile<S, Bf16Weights<S>>>(call);
    case PackedFormat::f16: return walk_tiles<FloatTile<S, F16Weights<S>>>(call);
    case PackedFormat::f32: return walk_tiles<FloatTile<S, F32Weights<S>>>(call);
  }
}

}  // namespace lockstep::kernels::cpu
