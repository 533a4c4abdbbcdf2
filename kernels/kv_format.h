// How keys and values are stored: --kv-cache-dtype.
#pragma once

#include <cstdint>

namespace lockstep::kernels {

// int8: a number is scale * byte, with one scale (largest magnitude / 127) for a position's key and
// one for its value in each head. Half the memory of bf16, and a little more than half.
enum class KvFormat { bf16, int8 };

// Positions of a tile: sixteen scores are one register. A tile of a head's keys holds
// [head_dim / 2][16 positions][2] numbers, so that a register of them enters a dot product of
// pairs; a tile of its values [8 pairs of positions][head_dim][2]. int8: sixteen scales, in f32,
// come after them.
inline constexpr std::int32_t kKvTile = 16;

// Bytes of a tile of keys, or of values; a multiple of a cache line.
constexpr std::int64_t kv_tile_bytes(KvFormat format, std::int64_t head_dim) {
  return format == KvFormat::bf16 ? kKvTile * head_dim * std::int64_t{sizeof(std::uint16_t)}
                                  : kKvTile * (head_dim + std::int64_t{sizeof(float)});
}

}  // namespace lockstep::kernels
