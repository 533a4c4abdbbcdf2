// Rotary position embedding and the store into the cache: device code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/rope_kv.h"
#include "kernels/fp8.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// Where a row's keys and values belong.
struct CacheSlot {
  std::int32_t position;
  std::int64_t block;
  std::int32_t in_block;
};

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

// Four pairs of a query's or a key's head: numbers `from` ... `from` + 3 of each half.
template <class Thread>
LOCKSTEP_DEVICE void rotate(Thread& t, const RopeKvArgs& args, const CacheSlot& slot,
                            std::int32_t head, std::int32_t from) {
  const PagedCache& cache = args.cache;
  const std::int64_t row = t.block_x();
  const std::int32_t half = cache.head_dim / 2;
  const std::int64_t angles = std::int64_t{slot.position} * half + from;
  const Pack<float, 4> c = t.load(as_pack<4>(args.cos + angles));
  const Pack<float, 4> s = t.load(as_pack<4>(args.sin + angles));
  t.wait_for_earlier();
  const bool is_query = head < args.query_heads;
  const std::int32_t key = head - args.query_heads;
  const float* in = row * args.stride +
                    (is_query ? args.q + head * cache.head_dim : args.k + key * cache.head_dim);
  const Pack<float, 4> a = t.load(as_pack<4>(in + from));
  const Pack<float, 4> b = t.load(as_pack<4>(in + half + from));
  Pack<float, 4> low, high;
  for (int j = 0; j < 4; ++j) {
    low[j] = a[j] * c[j] - b[j] * s[j];
    high[j] = b[j] * c[j] + a[j] * s[j];
  }
  if (!is_query) {
    const std::int64_t at = cache.at(slot.block, key, slot.in_block) + from;
    store_cached(t, cache, cache.keys, at, low, cache.key_scale);
    store_cached(t, cache, cache.keys, at + half, high, cache.key_scale);
    return;
  }
  std::uint16_t* out = args.rotated_q + (row * args.query_heads + head) * cache.head_dim;
  Pack<std::uint16_t, 4> rounded_low, rounded_high;
  for (int j = 0; j < 4; ++j) {
    rounded_low[j] = float_to_bf16(low[j]);
    rounded_high[j] = float_to_bf16(high[j]);
  }
  t.store(as_pack<4>(out + from), rounded_low);
  t.store(as_pack<4>(out + half + from), rounded_high);
}

// A thread takes four pairs of a query or a key, or four numbers of a value. What a step's plan
// says, and the tables, no kernel writes: they are read before earlier kernels are waited for.
template <class Thread>
LOCKSTEP_DEVICE void rope_kv(Thread& t, const RopeKvArgs& args) {
  const PagedCache& cache = args.cache;
  const std::int64_t row = t.block_x();
  const RowPlace place = t.load(args.places + row);
  const CacheSlot slot{.position = place.position,
                       .block = t.load(args.tables.blocks + place.sequence * args.tables.stride +
                                       place.position / cache.block_size),
                       .in_block = place.position % cache.block_size};
  const int item = t.block_y() * t.count() + t.index();
  const std::int32_t packs = cache.head_dim / 8, rotated_heads = args.query_heads + cache.heads;
  if (const std::int32_t head = item / packs; head < rotated_heads) {
    return rotate(t, args, slot, head, item % packs * 4);
  }
  t.wait_for_earlier();
  const int value_item = item - rotated_heads * packs;
  const std::int32_t value_packs = cache.head_dim / 4, head = value_item / value_packs;
  if (head >= cache.heads) return;
  const std::int32_t from = value_item % value_packs * 4;
  const Pack<float, 4> value =
      t.load(as_pack<4>(args.v + row * args.stride + head * cache.head_dim + from));
  store_cached(t, cache, cache.values, cache.at(slot.block, head, slot.in_block) + from, value,
               cache.value_scale);
}

}  // namespace lockstep::kernels::cuda
