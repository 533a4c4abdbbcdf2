// Products of weights of one format W (unit_weights.h) on a matrix unit U, a tile of 16 outputs by
// 32 columns at a time. A lane's sum grows in one tile of sums.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "kernels/cpu/for_each_index.h"
#include "kernels/cpu/streams.h"
#include "kernels/cpu/unit_sums.h"
#include "kernels/cpu/unit_weights.h"

namespace lockstep::kernels::cpu {

// The tokens that a pass over weights multiplies: NT tiles of them.
template <int NT, bool kOneToken = false>
struct UnitTokens {
  static constexpr int kTiles = NT;
  static constexpr bool kOne = kOneToken;
  // Streams of weights that are read together: as many as there are tiles for their sums.
  static constexpr std::size_t kStreamsRead = NT == 1 ? kUnitStreams : NT == 2 ? 2 : 1;
  static_assert(int{kStreamsRead} * NT <= kUnitSums);
};

// visit(UnitTokens<...>()) as suits `tokens`, at most kMost tiles of them.
template <int kMost, class Visit>
void visit_tokens(std::int64_t tokens, const Visit& visit) {
  if (tokens == 1) return visit(UnitTokens<1, true>());
  for_each_index<kMost>([&]<int I>() {
    if (I * kUnitTokens < tokens && tokens <= (I + 1) * kUnitTokens) visit(UnitTokens<I + 1>());
  });
}

// Elements [begin, end), which have `bytes` of weights each, by m tokens: visit(UnitTokens<...>(),
// the first token of a pass, elements that are read together). Where there are several passes, a
// run of elements stays in the second cache while all tokens pass by it.
template <int kMostTiles, class Visit>
void visit_passes(std::int64_t m, std::int64_t begin, std::int64_t end, std::int64_t bytes,
                  const Visit& visit) {
  constexpr std::int64_t kRunBytes = 1 << 20;
  constexpr std::int64_t kPass = kMostTiles * kUnitTokens;
  const std::int64_t run = m <= kPass ? end - begin : std::max<std::int64_t>(kRunBytes / bytes, 1);
  for (std::int64_t from = begin; from < end; from += run) {
    const std::int64_t to = std::min(from + run, end);
    for (std::int64_t token = 0; token < m; token += kPass) {
      visit_tokens<kMostTiles>(std::min(kPass, m - token), [&]<class Tokens>(Tokens tokens) {
        visit_together<Tokens::kStreamsRead>(
            from, to, [&](const auto& together) { visit(tokens, token, together); });
      });
    }
  }
}

// N row blocks by the tokens of a pass.
template <class U, class W, class Tokens, std::size_t N>
class UnitProduct {
 public:
  // `call` must outlive it.
  UnitProduct(const LinearCall& call, std::int64_t token, const std::array<std::int64_t, N>& blocks)
      : call_(call),
        token_(token),
        x_stride_(call.x.tiles.row_stride * std::int64_t{sizeof *call.x.tiles.values}),
        x_(reinterpret_cast<const std::byte*>(call.x.tiles.values) +
           token / kUnitTokens * x_stride_),
        groups_(call.weights->groups()) {
    for (std::size_t s = 0; s < N; ++s) blocks_[s] = call.weights->block(blocks[s]);
  }

  // The sums of the s-th row block, token after token, go to outs[s].
  void run(const std::array<float*, N>& outs) {
    UnitSums<Tokens::kOne> sums[kProducts];
    widen_next([]<int>() {});
    for (std::int32_t step = 0; step < call_.num_steps; ++step) {
      for_each_index<kProducts>([]<int I>() { U::template zero<I>(); });
      for (std::int32_t g = 0; g < call_.steps[step].groups; ++g) {
        multiply_group(widened_ == groups_);
        ask_for_rows(outs);
      }
      for_each_index<kProducts>(
          [&]<int I>() { sums[I].template push<U, I>(call_.steps[step].merges); });
    }
    for_each_index<kProducts>([&]<int I>() {
      constexpr std::int64_t kFirst = I % NT * kUnitTokens;
      sums[I].write(call_, token_ + kFirst, outs[I / NT] + kFirst * call_.row_stride);
    });
  }

 private:
  static constexpr int NT = Tokens::kTiles;
  // Of a group: product i is the tile of stream i / NT by that of tokens i % NT.
  static constexpr int kProducts = int{N} * NT;

  struct alignas(64) Ring {
    std::byte tiles[W::kWidens ? 2 : 1][kUnitTileBytes];
  };

  // The products of the group that is widened, while the next one is: the unit finds its operands
  // ready, and vectors work meanwhile.
  void multiply_group(bool last) {
    if constexpr (NT <= 2) {
      for_each_index<NT>([&]<int T>() { load_tokens<T>(); });
    }
    const auto products_at = [this]<int kQuarter>() { multiply_at<kQuarter>(); };
    if (last) {
      for_each_index<4 * int{N}>(products_at);
    } else {
      widen_next(products_at);
    }
    x_ += kUnitTileBytes;
    ++multiplied_;
  }

  // Asks for some more rows of what is to be written: for all, when all groups have passed.
  void ask_for_rows(const std::array<float*, N>& outs) {
    if constexpr (Tokens::kOne) return;
    const std::int64_t rows = std::min<std::int64_t>(NT * kUnitTokens, call_.m - token_);
    for (const std::int64_t last = rows * multiplied_ / groups_; asked_for_ < last; ++asked_for_) {
      for (float* out : outs) __builtin_prefetch(out + asked_for_ * call_.row_stride, 1);
    }
  }

  // Widens the next group of every stream; between<i>() is called after the i-th quarter of a tile.
  template <class Between>
  void widen_next(const Between& between) {
    for_each_index<int{N}>([&]<int S>() {
      const auto quarter = [&]<int Q>() { between.template operator()<4 * S + Q>(); };
      const std::byte* group = blocks_[S] + widened_ * W::kGroupBytes;
      prefetch_lines(group + kUnitPrefetchBytes, W::kGroupBytes);
      if constexpr (W::kWidens) {
        W::widen(group, rings_[S].tiles[widened_ % 2], quarter);
      } else {
        for_each_index<4>(quarter);
      }
    });
    ++widened_;
  }

  // Products are spread over the quarters.
  template <int kQuarter>
  void multiply_at() {
    for_each_index<kProducts>([&]<int I>() {
      if constexpr (4 * I / NT == kQuarter) multiply<I>();
    });
  }
  template <int I>
  void multiply() {
    constexpr int S = I / NT, T = I % NT;
    if constexpr (T == 0) {
      U::template load_weights<S % 2>(W::kWidens ? rings_[S].tiles[multiplied_ % 2]
                                                 : blocks_[S] + multiplied_ * W::kGroupBytes);
    }
    if constexpr (NT > 2) load_tokens<T>();
    U::template multiply<I, S % 2, T % 2>();
  }
  template <int T>
  void load_tokens() {
    U::template load_tokens<T % 2>(x_ + T * x_stride_);
  }

  const LinearCall& call_;
  const std::int64_t token_;
  const std::int64_t x_stride_;  // bytes from one tile of tokens to the next
  const std::byte* x_;           // of the group that is multiplied
  const std::byte* blocks_[N];
  const std::int64_t groups_;
  std::int64_t widened_ = 0, multiplied_ = 0;  // groups
  std::int64_t asked_for_ = 0;                 // rows
  Ring rings_[N];
};

// What the unit is asked to do may touch any memory, as the compiler sees it: here it knows of all
// that happens to a product, and keeps it in registers.
template <class U, class W, class Tokens, std::size_t N>
[[gnu::flatten]] void multiply_pass(const LinearCall& call, std::int64_t token,
                                    const std::array<std::int64_t, N>& blocks,
                                    const std::array<float*, N>& outs) {
  UnitProduct<U, W, Tokens, N>(call, token, blocks).run(outs);
}

template <class U, class W>
void unit_linear(const LinearCall& call) {
  const UnitInUse<U> in_use(call.m);
  visit_passes<W::kTokenTiles>(
      call.m, call.block_begin, call.block_end, call.weights->groups() * W::kGroupBytes,
      [&]<class Tokens, std::size_t N>(Tokens, std::int64_t token,
                                       const std::array<std::int64_t, N>& blocks) {
        std::array<float*, N> outs;
        for (std::size_t s = 0; s < N; ++s) {
          outs[s] = call.out + token * call.row_stride + blocks[s] * kRowBlock;
        }
        multiply_pass<U, W, Tokens>(call, token, blocks, outs);
      });
}

}  // namespace lockstep::kernels::cpu
