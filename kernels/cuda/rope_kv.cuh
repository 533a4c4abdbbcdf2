// Rotary position embedding and the store into the cache: device code.
#pragma once

#include <cmath>

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

// Four numbers of each half of a head.
struct HeadPairs {
  Pack<float, 4> low, high;
};

template <class Thread>
LOCKSTEP_DEVICE HeadPairs load_pairs(Thread& t, const float* head, std::int32_t half) {
  return {t.load(as_pack<4>(head)), t.load(as_pack<4>(head + half))};
}

// The RMSNorm of a head, of which this thread and its neighbours in the warp have the pairs.
template <class Thread>
LOCKSTEP_DEVICE void normalize(Thread& t, const RopeKvArgs& args, const HeadPairs& weights,
                               HeadPairs& pairs) {
  const std::int32_t head_dim = args.cache.head_dim;
  float squares = 0;
  for (int j = 0; j < 4; ++j) {
    squares = fmaf(pairs.low[j], pairs.low[j], squares);
    squares = fmaf(pairs.high[j], pairs.high[j], squares);
  }
  for (int mask = head_dim / 16; mask > 0; mask /= 2) squares += t.shuffle_xor(squares, mask);
  const float inverse = 1.0f / sqrtf(squares / static_cast<float>(head_dim) + args.eps);
  for (int j = 0; j < 4; ++j) {
    pairs.low[j] = pairs.low[j] * inverse * weights.low[j];
    pairs.high[j] = pairs.high[j] * inverse * weights.high[j];
  }
}

// Four pairs of a query's or a key's head: numbers `from` ... `from` + 3 of each half. `head`
// counts queries' heads, then keys'; behind the last one nothing is stored.
template <class Thread>
LOCKSTEP_DEVICE void rotate(Thread& t, const RopeKvArgs& args, const CacheSlot& slot,
                            std::int32_t head, std::int32_t from) {
  const PagedCache& cache = args.cache;
  const std::int64_t row = t.block_x();
  const std::int32_t half = cache.head_dim / 2, last_head = args.query_heads + cache.heads - 1;
  const bool is_there = head <= last_head;
  if (!is_there) head = last_head;
  const bool is_query = head < args.query_heads;
  const std::int64_t angles = std::int64_t{slot.position} * half + from;
  const Pack<float, 4> c = t.load(as_pack<4>(args.cos + angles));
  const Pack<float, 4> s = t.load(as_pack<4>(args.sin + angles));
  HeadPairs bias{}, norm{};
  if (args.bias != nullptr) bias = load_pairs(t, args.bias + head * cache.head_dim + from, half);
  if (args.query_norm != nullptr) {
    norm = load_pairs(t, (is_query ? args.query_norm : args.key_norm) + from, half);
  }
  t.wait_for_earlier();
  const std::int32_t key = head - args.query_heads;
  const float* in = row * args.stride +
                    (is_query ? args.q + head * cache.head_dim : args.k + key * cache.head_dim);
  HeadPairs x = load_pairs(t, in + from, half);
  for (int j = 0; args.bias != nullptr && j < 4; ++j) {
    x.low[j] += bias.low[j];
    x.high[j] += bias.high[j];
  }
  if (args.query_norm != nullptr) normalize(t, args, norm, x);
  if (!is_there) return;
  Pack<float, 4> low, high;
  for (int j = 0; j < 4; ++j) {
    low[j] = x.low[j] * c[j] - x.high[j] * s[j];
    high[j] = x.high[j] * c[j] + x.low[j] * s[j];
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

// Four numbers of a value, from the `at`th of a row's on.
template <class Thread>
LOCKSTEP_DEVICE void store_value(Thread& t, const RopeKvArgs& args, const CacheSlot& slot,
                                 std::int32_t at) {
  const PagedCache& cache = args.cache;
  const std::int32_t head = at / cache.head_dim, from = at % cache.head_dim;
  if (head >= cache.heads) return;
  Pack<float, 4> bias{};
  if (args.bias != nullptr) {
    const float* of_values = args.bias + (args.query_heads + cache.heads) * cache.head_dim;
    bias = t.load(as_pack<4>(of_values + at));
  }
  t.wait_for_earlier();
  Pack<float, 4> value = t.load(as_pack<4>(args.v + t.block_x() * args.stride + at));
  for (int j = 0; args.bias != nullptr && j < 4; ++j) value[j] += bias[j];
  store_cached(t, cache, cache.values, cache.at(slot.block, head, slot.in_block) + from, value,
               cache.value_scale);
}

// A thread takes four pairs of a query or a key, or four numbers of a value. What a step's plan
// says, the tables, and what is the model's, no kernel writes: it is read before earlier kernels
// are waited for.
template <class Thread>
LOCKSTEP_DEVICE void rope_kv(Thread& t, const RopeKvArgs& args) {
  const PagedCache& cache = args.cache;
  const RowPlace place = t.load(args.places + t.block_x());
  const CacheSlot slot{.position = place.position,
                       .block = t.load(args.tables.blocks + place.sequence * args.tables.stride +
                                       place.position / cache.block_size),
                       .in_block = place.position % cache.block_size};
  const int item = t.block_y() * t.count() + t.index();
  const auto rotating = static_cast<int>(rotating_threads(args));
  if (item >= rotating) return store_value(t, args, slot, (item - rotating) * 4);
  const std::int32_t packs = cache.head_dim / 8;
  rotate(t, args, slot, item / packs, item % packs * 4);
}

}  // namespace lockstep::kernels::cuda
