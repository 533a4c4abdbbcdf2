// Products of few tokens with weights of one format W (unit_weights.h) on a matrix unit U, as fast
// as memory brings the weights.
#pragma once

#include "kernels/cpu/streams.h"
#include "kernels/cpu/unit_sums.h"
#include "kernels/cpu/unit_weights.h"

namespace lockstep::kernels::cpu {

// So many tokens are multiplied as weights pass, in up to two tiles.
inline constexpr std::int64_t kStreamedTokens = 2 * kUnitTokens;

// What a call has for tokens.
template <int NT, bool kOneToken = false>
struct UnitTokens {
  static constexpr int kTiles = NT;
  static constexpr bool kOne = kOneToken;
  // As far as tiles for their sums go.
  static constexpr std::size_t kStreamsRead = NT == 1 ? kStreams : 2;
};

// visit(UnitTokens<...>()) as suits a call.
template <class Visit>
void visit_tokens(std::int64_t tokens, const Visit& visit) {
  if (tokens == 1) return visit(UnitTokens<1, true>());
  if (tokens <= kUnitTokens) return visit(UnitTokens<1>());
  visit(UnitTokens<2>());
}

// N row blocks by all tokens: the sums of blocks[s] go to outs[s].
template <class U, class W, class Tokens, std::size_t N>
void multiply_streams(const LinearCall& call, const std::array<std::int64_t, N>& blocks,
                      const std::array<float*, N>& outs) {
  constexpr int NT = Tokens::kTiles;
  // A group is widened before the unit gets the one before it, which then need not wait.
  struct alignas(64) Ring {
    std::byte tiles[W::kWidens ? 2 : 1][kUnitTileBytes];
  };
  Ring rings[N];
  const std::byte* groups[N];
  for (std::size_t s = 0; s < N; ++s) groups[s] = call.weights->block(blocks[s]);
  const std::int64_t count = call.weights->groups();
  const auto prepare = [&](std::int64_t i) {
    for (std::size_t s = 0; s < N; ++s) {
      const std::byte* group = groups[s] + i * W::kGroupBytes;
      prefetch_lines(group + kStreamPrefetchBytes, W::kGroupBytes);
      if constexpr (W::kWidens) W::widen(group, rings[s].tiles[i % 2]);
    }
  };
  const auto tile = [&](std::size_t s, std::int64_t i) -> const std::byte* {
    return W::kWidens ? rings[s].tiles[i % 2] : groups[s] + i * W::kGroupBytes;
  };
  const auto* x = reinterpret_cast<const std::byte*>(call.x.tiles.values);
  const std::int64_t x_stride = call.x.tiles.row_stride * std::int64_t{sizeof *call.x.tiles.values};
  UnitSums<Tokens::kOne> sums[N][NT];
  std::int64_t done = 0;
  prepare(0);
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    for_each_index<int{N} * NT>([]<int I>() { U::template zero<I>(); });
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g, ++done, x += kUnitTileBytes) {
      if (done + 1 < count) prepare(done + 1);
      for_each_index<NT>([&]<int T>() { U::template load_tokens<T>(x + T * x_stride); });
      for_each_index<int{N}>([&]<int I>() {
        U::template load_weights<I % 2>(tile(I, done));
        for_each_index<NT>(
            []<int T>() { U::template multiply<Tokens::kTiles * I + T, I % 2, T>(); });
      });
    }
    for_each_index<int{N}>([&]<int I>() {
      for_each_index<NT>(
          [&]<int T>() { sums[I][T].template push<U, NT * I + T>(call.steps[step].merges); });
    });
  }
  for (std::size_t s = 0; s < N; ++s) {
    for (int t = 0; t < NT; ++t) {
      sums[s][t].write(call, t * kUnitTokens, outs[s] + t * kUnitTokens * call.row_stride);
    }
  }
}

template <class U, class W>
void stream_linear(const LinearCall& call) {
  visit_tokens(call.m, [&]<class Tokens>(Tokens) {
    const auto multiply = [&]<std::size_t N>(const std::array<std::int64_t, N>& blocks) {
      std::array<float*, N> outs;
      for (std::size_t s = 0; s < N; ++s) outs[s] = call.out + blocks[s] * kRowBlock;
      multiply_streams<U, W, Tokens>(call, blocks, outs);
    };
    visit_together<Tokens::kStreamsRead>(call.block_begin, call.block_end, multiply);
  });
}

}  // namespace lockstep::kernels::cpu
