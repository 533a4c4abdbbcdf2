// Rotary position embedding and the store into the cache: device code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/rope_kv.h"
#include "kernels/fp8.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// Stores four numbers of a key or a value at index `at`.
template <class Thread>
LOCKSTEP_DEVICE void store_cached(Thread& t, const PagedCache& cache, void* array, std::int64_t at,
                                  Pack<float, 4> values, float scale) {
  if (cache.format == CacheFormat::bf16) {
    Pack<std::uint16_t, 4> rounded;
    for (int i = 0; i < 4; ++i) rounded[i] = float_to_bf16(values[i]);
    t.store(as_pack<4>(static_cast<std::uint16_t*>(array) + at), rounded);
  } else {
    Pack<std::uint8_t, 4> rounded;
    for (int i = 0; i < 4; ++i) rounded[i] = float_to_e4m3(values[i] / scale);
    t.store(as_pack<4>(static_cast<std::uint8_t*>(array) + at), rounded);
  }
}

// A thread takes four pairs of a query or a key, or four numbers of a value, at a time.
template <class Thread>
LOCKSTEP_DEVICE void rope_kv(Thread& t, const RopeKvArgs& args) {
  const PagedCache& cache = args.cache;
  const std::int64_t row = t.block_x();
  const RowPlace place = t.load(args.places + row);
  const std::int64_t block = t.load(args.tables.blocks + place.sequence * args.tables.stride +
                                    place.position / cache.block_size);
  const std::int32_t slot = place.position % cache.block_size;
  const std::int32_t half = cache.head_dim / 2;
  const float* cos = args.cos + std::int64_t{place.position} * half;
  const float* sin = args.sin + std::int64_t{place.position} * half;

  const std::int32_t packs = half / 4;
  const std::int32_t rotated_heads = args.query_heads + cache.heads;
  for (int i = t.index(); i < rotated_heads * packs; i += t.count()) {
    const std::int32_t head = i / packs;
    const std::int32_t from = i % packs * 4;
    const bool is_query = head < args.query_heads;
    const std::int32_t key = head - args.query_heads;
    const float* in = row * args.stride +
                      (is_query ? args.q + head * cache.head_dim : args.k + key * cache.head_dim);
    const Pack<float, 4> a = t.load(as_pack<4>(in + from));
    const Pack<float, 4> b = t.load(as_pack<4>(in + half + from));
    const Pack<float, 4> c = t.load(as_pack<4>(cos + from));
    const Pack<float, 4> s = t.load(as_pack<4>(sin + from));
    Pack<float, 4> low, high;
    for (int j = 0; j < 4; ++j) {
      low[j] = a[j] * c[j] - b[j] * s[j];
      high[j] = b[j] * c[j] + a[j] * s[j];
    }
    if (is_query) {
      std::uint16_t* out = args.rotated_q + (row * args.query_heads + head) * cache.head_dim;
      Pack<std::uint16_t, 4> rounded_low, rounded_high;
      for (int j = 0; j < 4; ++j) {
        rounded_low[j] = float_to_bf16(low[j]);
        rounded_high[j] = float_to_bf16(high[j]);
      }
      t.store(as_pack<4>(out + from), rounded_low);
      t.store(as_pack<4>(out + half + from), rounded_high);
    } else {
      const std::int64_t at = cache.at(block, key, slot) + from;
      store_cached(t, cache, cache.keys, at, low, cache.key_scale);
      store_cached(t, cache, cache.keys, at + half, high, cache.key_scale);
    }
  }

  const std::int32_t value_packs = cache.head_dim / 4;
  for (int i = t.index(); i < cache.heads * value_packs; i += t.count()) {
    const std::int32_t head = i / value_packs;
    const std::int32_t from = i % value_packs * 4;
    const Pack<float, 4> value =
        t.load(as_pack<4>(args.v + row * args.stride + head * cache.head_dim + from));
    store_cached(t, cache, cache.values, cache.at(block, head, slot) + from, value,
                 cache.value_scale);
  }
}

}  // namespace lockstep::kernels::cuda
