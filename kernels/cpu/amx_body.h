// Products on a matrix unit, for every unit U: AMX (amx.cc), and in tests its emulation, so that
// what is right here does not wait for a machine that has one.
//
// U holds four tiles of sums, of 16 rows by 16, and tiles of what is multiplied.
//   U::configure(rows)  tiles of sums and activations have so many rows, at most 16; U::release()
//   U::zero<i>()        the sums of tile i; U::store<i>(memory): rows 64 bytes apart
//   U::load_bf16_activations(memory, stride): rows of 32, `stride` bytes apart; and
//   U::load_bf16_weights(memory): 16 pairs of columns by 16 outputs, as they are packed
//   U::add_bf16<i>()    sums[i] += the product: of each half of the pairs one sum in order, both
//   added,
//                       then added to sums[i] (Intel's TDPBF16PS)
//   U::load_byte_activations(), U::load_byte_weights(): the same in bytes, 8 fours of columns
//   U::add_signed<i>(), U::add_unsigned<i>(): in whole numbers, of weights with a sign or without
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cpu/linear_body.h"
#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/swiglu_body.h"
#include "kernels/cpu/table_body.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {

inline constexpr int kUnitRows = 16;
// Row blocks whose sums grow side by side: one sum is ready to be added to only after several
// instructions' time.
inline constexpr int kSideBySide = 4;

// The unit is in use while this lives.
template <class U>
class TilesInUse {
 public:
  TilesInUse() { configure(kUnitRows); }
  ~TilesInUse() { U::release(); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;

  void configure(int rows) {
    if (rows == rows_) return;
    U::configure(rows);
    rows_ = rows;
  }

 private:
  int rows_ = 0;
};

// ---- bf16 ----

// One row block of bf16 weights and where its first sum goes.
struct Bf16Block {
  const std::byte* weights;
  float* out;
};

template <class U, int N>
void multiply_bf16_blocks(const LinearCall& call, std::int64_t row, int rows,
                          const Bf16Block* blocks) {
  constexpr std::int64_t kWeightBytes = kGroup * kRowBlock * sizeof(std::uint16_t);
  const std::int64_t stride = call.x.half_stride * std::int64_t{sizeof(std::uint16_t)};
  const auto* x = reinterpret_cast<const std::byte*>(call.x.halves) + row * stride;
  LaneStack<Avx512Bf16Simd, kUnitRows> stacks[N];
  std::int64_t group = 0;
  const auto for_blocks = [&]<int... I>(std::integer_sequence<int, I...>, const auto& visit) {
    (visit.template operator()<I>(), ...);
  };
  constexpr auto kAll = std::make_integer_sequence<int, N>();
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    for_blocks(kAll, [&]<int I>() { U::template zero<I>(); });
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g, ++group) {
      U::load_bf16_activations(x + group * kGroup * std::int64_t{sizeof(std::uint16_t)}, stride);
      for_blocks(kAll, [&]<int I>() {
        U::load_bf16_weights(blocks[I].weights + group * kWeightBytes);
        U::template add_bf16<I>();
      });
    }
    for_blocks(kAll, [&]<int I>() {
      U::template store<I>(stacks[I].next());
      stacks[I].pushed(call.steps[step].merges);
    });
  }
  for (int i = 0; i < N; ++i) stacks[i].write(call, blocks[i].out, rows);
}

template <class U, int N = kSideBySide>
void multiply_bf16(const LinearCall& call, std::int64_t row, int rows, const Bf16Block* blocks,
                   int count) {
  if (count == N) return multiply_bf16_blocks<U, N>(call, row, rows, blocks);
  if constexpr (N > 1) multiply_bf16<U, N - 1>(call, row, rows, blocks, count);
}

inline bool is_bf16_product(const PackedMatrix& weights, ActivationFormat activations) {
  return activations == ActivationFormat::bf16 && weights.format() == PackedFormat::bf16;
}

template <class S, class U>
void linear_bf16(const LinearCall& call, TilesInUse<U>& tiles) {
  const std::int64_t quads = (call.block_end - call.block_begin + kSideBySide - 1) / kSideBySide;
  walk_tiles<S>(call, 0, quads, [&](std::int64_t quad, std::int64_t row, std::int64_t rows) {
    const std::int64_t first = call.block_begin + quad * kSideBySide;
    const auto count =
        static_cast<int>(std::min<std::int64_t>(kSideBySide, call.block_end - first));
    std::array<Bf16Block, kSideBySide> blocks;
    for (int i = 0; i < count; ++i) {
      blocks[static_cast<std::size_t>(i)] = {
          call.weights->block(first + i),
          call.out + row * call.row_stride + (first + i) * kRowBlock};
    }
    tiles.configure(static_cast<int>(rows));
    multiply_bf16<U>(call, row, static_cast<int>(rows), blocks.data(), count);
  });
}

// Gate and up of one group of 32 columns are four row blocks.
template <class S, class U>
void swiglu_bf16(const SwigluCall& call, TilesInUse<U>& tiles) {
  static_assert(kSideBySide * kRowBlock == 2 * kGroup && kUnitRows <= kInnerTile);
  LinearCall products = call.gate;
  products.row_stride = kGroup;
  alignas(64) float gates[kUnitRows * kGroup];
  alignas(64) float ups[kUnitRows * kGroup];
  walk_tiles<S>(call.gate, call.group_begin, call.group_end,
                [&](std::int64_t group, std::int64_t row, std::int64_t rows) {
                  const std::int64_t gate = group * (call.interleaved ? 4 : 2);
                  const std::int64_t up = gate + (call.interleaved ? 2 : 0);
                  const Bf16Block blocks[] = {
                      {call.gate.weights->block(gate), gates},
                      {call.gate.weights->block(gate + 1), gates + kRowBlock},
                      {call.up->block(up), ups},
                      {call.up->block(up + 1), ups + kRowBlock}};
                  tiles.configure(static_cast<int>(rows));
                  multiply_bf16<U>(products, row, static_cast<int>(rows), blocks, kSideBySide);
                  silu_mul<S>(gates, ups, rows * kGroup, gates);
                  write_groups<S>(call, gates, row, rows, group, 1);
                });
}

// ---- Bytes ----

// The weights of a group as a tile, four columns of 16 rows in a line.
template <class U>
struct TileQ4 {
  using Vnni = VnniQ4;
  static void multiply(const std::byte* group) {
    alignas(64) std::byte bytes[kGroup * kRowBlock];
    const __m512i low = _mm512_set1_epi8(15);
    for (int chunk = 0; chunk < 4; ++chunk) {
      const __m512i both = load_bytes(group + 64 * chunk);
      _mm512_store_si512(bytes + 64 * chunk, _mm512_and_si512(both, low));
      _mm512_store_si512(bytes + 64 * (chunk + 4),
                         _mm512_and_si512(_mm512_srli_epi16(both, 4), low));
    }
    U::load_byte_weights(bytes);
    U::template add_unsigned<0>();
  }
};
template <class U>
struct TileQ8 {
  using Vnni = VnniQ8;
  static void multiply(const std::byte* group) {
    U::load_byte_weights(group);
    U::template add_signed<0>();
  }
};

// Sixteen rows. The sum inside a group is a whole number, and everything after it is done as in
// quantized_tile(): so are the bits.
template <class S, class U, class Q>
void quantized_unit_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  using Vnni = typename Q::Vnni;
  const QuantizedRows& x = call.x.bytes;
  const std::byte* group = call.weights->block(block);
  const std::int8_t* bytes = x.values + row * x.value_stride;
  const float* scales = x.scales + row * x.group_stride;
  const float* offsets = x.offsets + row * x.group_stride;
  alignas(64) std::int32_t dots[kUnitRows][kRowBlock];
  LaneStack<S, kUnitRows> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[kUnitRows];
    for (auto& sum : sums) sum = S::zero();
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g) {
      U::template zero<0>();
      U::load_byte_activations(reinterpret_cast<const std::byte*>(bytes), x.value_stride);
      Q::multiply(group);
      U::template store<0>(dots);
      const auto scale = load_halves(group + Vnni::kScale);
#pragma GCC unroll 16
      for (int i = 0; i < kUnitRows; ++i) {
        const std::int64_t at = i * x.group_stride;
        const auto dot = S::mul(_mm512_cvtepi32_ps(_mm512_load_si512(dots[i])), S::set(scales[at]));
        sums[i] = S::fma(dot, scale, sums[i]);
        if constexpr (Vnni::kHasMinimum) {
          sums[i] = S::fma(S::set(offsets[at]), load_halves(group + Vnni::kMinimum), sums[i]);
        }
      }
      group += Vnni::kGroupBytes;
      bytes += kGroup;
      ++scales;
      ++offsets;
    }
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, out);
}

// Fewer than sixteen rows, which leave the unit's pipeline empty, are multiplied without it.
template <class S, class U, template <class> class Q>
struct UnitTile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
    if constexpr (MT == kUnitRows) {
      quantized_unit_tile<S, U, Q<U>>(call, row, block, out);
    } else {
      quantized_tile<S, typename Q<U>::Vnni, MT>(call, row, block, out);
    }
  }
};
template <class S, class U>
struct QuantizedTile<S, TileQ4<U>> : UnitTile<S, U, TileQ4> {};
template <class S, class U>
struct QuantizedTile<S, TileQ8<U>> : UnitTile<S, U, TileQ8> {};

// ---- The table ----

template <class S, class U>
void unit_linear(const LinearCall& call) {
  TilesInUse<U> tiles;
  if (is_bf16_product(*call.weights, call.activations)) return linear_bf16<S, U>(call, tiles);
  linear<S, TileQ4<U>, TileQ8<U>>(call);
}

template <class S, class U>
void unit_swiglu(const SwigluCall& call) {
  TilesInUse<U> tiles;
  if (is_bf16_product(*call.gate.weights, call.gate.activations) &&
      is_bf16_product(*call.up, call.up_activations)) {
    return swiglu_bf16<S, U>(call, tiles);
  }
  swiglu<S, TileQ4<U>, TileQ8<U>>(call);
}

template <class U>
constexpr KernelTable make_unit_table(const char* name) {
  using S = Avx512Bf16Simd;
  KernelTable table = make_table<S, VnniQ4, VnniQ8>(name);
  table.linear = unit_linear<S, U>;
  table.swiglu = unit_swiglu<S, U>;
  return table;
}

}  // namespace lockstep::kernels::cpu
