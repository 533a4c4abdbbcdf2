// Keys and values into the cache's tiles (kernels/kv_format.h) and out of them, for every family S.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/kv_format.h"

namespace lockstep::kernels::cpu {

// Where dimensions d and d + 1 of a position's key lie in its tile.
inline std::int64_t key_place(std::int64_t d, std::int32_t slot) {
  return (d / 2 * kTile + slot) * 2;
}

// Where dimension d of a position's value lies in its tile; that of d + 1 is two places on.
inline std::int64_t value_place(std::int64_t d, std::int32_t slot, std::int64_t head_dim) {
  return (slot / 2 * head_dim + d) * 2 + slot % 2;
}

// Sixteen rounded numbers of a key and of a value, from dimension d on, into their tiles.
template <class T>
void place(const T* key, const T* value, std::int64_t d, std::int32_t slot, std::int64_t head_dim,
           T* keys, T* values) {
  for (int i = 0; i < 16; i += 2) {
    std::memcpy(keys + key_place(d + i, slot), key + i, 2 * sizeof(T));
  }
  T* to = values + value_place(d, slot, head_dim);
  for (int i = 0; i < 16; ++i) to[2 * i] = value[i];
}

template <class S>
float largest_magnitude(const float* x, std::int64_t n) {
  auto largest = S::abs(S::load(x));
  for (std::int64_t i = 16; i < n; i += 16) largest = S::max(S::abs(S::load(x + i)), largest);
  return S::maximum(largest);
}

template <class S>
void store_kv_int8(const float* k, const float* v, std::int64_t head_dim, std::byte* key_tile,
                   std::byte* value_tile, std::int32_t slot) {
  const float largest[] = {largest_magnitude<S>(k, head_dim), largest_magnitude<S>(v, head_dim)};
  typename S::V inverse[2];
  std::byte* const tiles[] = {key_tile, value_tile};
  for (int i = 0; i < 2; ++i) {
    inverse[i] = S::set(largest[i] > 0.0f ? 127.0f / largest[i] : 0.0f);
    reinterpret_cast<float*>(tiles[i] + kTile * head_dim)[slot] = largest[i] / 127.0f;
  }
  for (std::int64_t d = 0; d < head_dim; d += 16) {
    alignas(64) std::int8_t key[16], value[16];
    S::store_i8(key, round<S>(S::mul(S::load(k + d), inverse[0])));
    S::store_i8(value, round<S>(S::mul(S::load(v + d), inverse[1])));
    place(key, value, d, slot, head_dim, reinterpret_cast<std::int8_t*>(key_tile),
          reinterpret_cast<std::int8_t*>(value_tile));
  }
}

template <class S>
void store_kv(KvFormat format, const float* k, const float* v, std::int64_t head_dim,
              std::byte* key_tile, std::byte* value_tile, std::int32_t slot) {
  if (format == KvFormat::int8) return store_kv_int8<S>(k, v, head_dim, key_tile, value_tile, slot);
  for (std::int64_t d = 0; d < head_dim; d += 16) {
    alignas(64) std::uint16_t key[16], value[16];
    S::store_bf16(key, S::load(k + d));
    S::store_bf16(value, S::load(v + d));
    place(key, value, d, slot, head_dim, reinterpret_cast<std::uint16_t*>(key_tile),
          reinterpret_cast<std::uint16_t*>(value_tile));
  }
}

// Asks for the line at `p`, into the second cache: the first one is full of what is being read.
inline void fetch_line(const void* p) { __builtin_prefetch(p, 0, 2); }

// Where a tile's keys and values lie in the cache.
struct CachedTile {
  const std::byte* keys;
  const std::byte* values;
};

// The tiles of one pass of a softmax, in bf16.
struct PassTiles {
  const std::uint16_t* keys[kPassTiles];
  const std::uint16_t* values[kPassTiles];
  // Tiles that are read later: their lines are asked for one by one while these are read. All of
  // them at once would fill the queue of misses, and hold up what is being computed.
  CachedTile ahead[kPassTiles];
  // int8: what every position's scores and weights are to be multiplied by.
  const float* key_scales[kPassTiles];
  const float* value_scales[kPassTiles];
};

// Bytes as bf16, which holds them exactly: they are read by as many queries as share the pass.
template <class S>
const std::uint16_t* widened(const std::byte* tile, const std::byte* ahead, std::int64_t head_dim,
                             std::uint16_t* to) {
  const auto* bytes = reinterpret_cast<const std::int8_t*>(tile);
  for (std::int64_t i = 0; i < kTile * head_dim; i += 64) {
    fetch_line(ahead + i);
    S::store_bf16_of_i8(to + i, bytes + i);
    S::store_bf16_of_i8(to + i + 32, bytes + i + 32);
  }
  return to;
}

// Makes `tile` tile t of the pass; `memory` is for widened tiles.
template <class S, KvFormat F>
void put_tile(const CachedTile& tile, const CachedTile& ahead, std::int64_t head_dim,
              std::uint16_t* memory, std::int32_t t, PassTiles& pass) {
  pass.ahead[t] = ahead;
  if constexpr (F == KvFormat::bf16) {
    pass.keys[t] = reinterpret_cast<const std::uint16_t*>(tile.keys);
    pass.values[t] = reinterpret_cast<const std::uint16_t*>(tile.values);
  } else {
    std::uint16_t* own = memory + 2 * t * kTile * head_dim;
    pass.keys[t] = widened<S>(tile.keys, ahead.keys, head_dim, own);
    pass.values[t] = widened<S>(tile.values, ahead.values, head_dim, own + kTile * head_dim);
    pass.key_scales[t] = reinterpret_cast<const float*>(tile.keys + kTile * head_dim);
    pass.value_scales[t] = reinterpret_cast<const float*>(tile.values + kTile * head_dim);
  }
}

}  // namespace lockstep::kernels::cpu
