// Products of many tokens with weights of one format W (unit_weights.h) on a matrix unit U, a tile
// of 16 outputs by 32 columns at a time by up to two tiles of tokens. A lane's sum grows in one
// tile of sums.
#pragma once

#include <memory>

#include "kernels/cpu/unit_sums.h"
#include "kernels/cpu/unit_weights.h"

namespace lockstep::kernels::cpu {

template <class U, class W>
class UnitProduct {
 public:
  static constexpr std::int64_t kTokens = 2 * kUnitTokens;  // at once

  // `call` must outlive it.
  explicit UnitProduct(const LinearCall& call) : call_(call) {
    if (W::kWidens) {
      widened_ = std::make_unique_for_overwrite<Tile[]>(static_cast<std::size_t>(2 * groups()));
    }
  }

  // Tokens that should pass by all weights before others do: their tiles stay in the second cache,
  // and weights that are widened are so for all of them.
  std::int64_t panel() const {
    constexpr std::int64_t kPanelBytes = 3 << 19, kLeast = 128;
    return std::max(kPanelBytes / (2 * call_.weights->columns()), kLeast) / kTokens * kTokens;
  }

  // Takes `count` row blocks (1 or 2) from `block` on.
  void take(std::int64_t block, int count) {
    if (count_ == 0) prefetch_lines(call_.weights->block(block), kUnitPrefetchBytes);
    block_ = block;
    count_ = count;
    if (W::kWidens) widen();
  }

  // The blocks taken by the tokens from `token` on, at most kTokens; sums of block i go to
  // out + 16 * i.
  void multiply(std::int64_t token, float* out) const {
    if (call_.m - token <= kUnitTokens) {
      by_tokens<1>(token, out);
    } else {
      by_tokens<2>(token, out);
    }
  }

 private:
  struct alignas(64) Tile {
    std::byte bytes[kUnitTileBytes];
  };

  std::int64_t groups() const { return call_.weights->groups(); }

  void widen() {
    std::byte* to = widened_[0].bytes;
    const std::byte* group = call_.weights->block(block_);
    for (std::int64_t i = 0; i < count_ * groups(); ++i) {
      prefetch_lines(group + kUnitPrefetchBytes, W::kGroupBytes);
      if constexpr (W::kWidens) W::widen(group, to);
      group += W::kGroupBytes;
      to += kUnitTileBytes;
    }
  }

  template <int NT>
  void by_tokens(std::int64_t token, float* out) const {
    count_ == 2 ? by_tiles<2, NT>(token, out) : by_tiles<1, NT>(token, out);
  }

  // NW row blocks, whose tiles are there, by NT tiles of tokens.
  template <int NW, int NT>
  void by_tiles(std::int64_t token, float* out) const {
    const std::int64_t block_bytes = groups() * kUnitTileBytes;
    const std::byte* weights = W::kWidens ? widened_[0].bytes : call_.weights->block(block_);
    const std::byte* x = token_tile(token);
    const std::int64_t share = ahead_share(NW);
    const std::int64_t pass = token % panel() / kTokens;
    const std::byte* ahead = call_.weights->block(block_ + NW) + pass * share * groups();
    std::int64_t asked_for = 0;
    UnitSums<false> sums[NW][NT];
    for (std::int32_t step = 0; step < call_.num_steps; ++step) {
      for_each_index<NW>(
          []<int I>() { for_each_index<NT>([]<int T>() { U::template zero<2 * I + T>(); }); });
      for (std::int32_t g = 0; g < call_.steps[step].groups; ++g) {
        for_each_index<NT>([&]<int T>() { U::template load_tokens<T>(x + T * token_stride()); });
        for_each_index<NW>([&]<int I>() {
          U::template load_weights<I>(weights + I * block_bytes);
          for_each_index<NT>([]<int T>() { U::template multiply<2 * I + T, I, T>(); });
        });
        prefetch_lines(ahead, share);
        ahead += share;
        ask_for_rows<NW, NT>(asked_for, out);
        weights += kUnitTileBytes;
        x += kUnitTileBytes;
      }
      for_each_index<NW>([&]<int I>() {
        for_each_index<NT>(
            [&]<int T>() { sums[I][T].template push<U, 2 * I + T>(call_.steps[step].merges); });
      });
    }
    for (int t = 0; t < NT; ++t) {
      const std::int64_t first = t * kUnitTokens;
      for (int i = 0; i < NW; ++i) {
        sums[i][t].write(call_, token + first, out + first * call_.row_stride + i * kRowBlock);
      }
    }
  }

  // Asks for some more rows of what is to be written: for all, when all groups have passed.
  template <int NW, int NT>
  void ask_for_rows(std::int64_t& asked_for, const float* out) const {
    const std::int64_t more = (NT * kUnitTokens + groups() - 1) / groups();
    for (std::int64_t i = 0; i < more; ++i, ++asked_for) {
      for (int block = 0; block < NW; ++block) {
        __builtin_prefetch(out + asked_for * call_.row_stride + block * kRowBlock, 1);
      }
    }
  }

  const std::byte* token_tile(std::int64_t token) const {
    return reinterpret_cast<const std::byte*>(call_.x.tiles.values) +
           token / kUnitTokens * token_stride();
  }
  // Bytes from one tile of tokens to the next.
  std::int64_t token_stride() const {
    return call_.x.tiles.row_stride * std::int64_t{sizeof *call_.x.tiles.values};
  }

  // Bytes of the blocks that come next to be asked for with every group: all of them, when all
  // tokens of a panel have passed.
  std::int64_t ahead_share(int blocks) const {
    const std::int64_t passes = (std::min(call_.m, panel()) + kTokens - 1) / kTokens;
    return (blocks * W::kGroupBytes / passes + 63) / 64 * 64;
  }

  const LinearCall& call_;
  std::int64_t block_ = 0;
  int count_ = 0;
  std::unique_ptr<Tile[]> widened_;  // two blocks, their groups in order
};

}  // namespace lockstep::kernels::cpu
