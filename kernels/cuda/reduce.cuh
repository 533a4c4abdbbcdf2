// Sums over the threads of a warp and of a block, in an order that their number alone fixes.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

// The sum over the lanes of a warp, the same bits in each: a butterfly adds a + b in one lane and
// b + a in its partner.
template <class Thread, class T>
LOCKSTEP_DEVICE T warp_sum(Thread& t, T value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += t.shuffle_xor(value, mask);
  return value;
}

template <class Thread>
LOCKSTEP_DEVICE float warp_max(Thread& t, float value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const float other = t.shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

// The sum over a block, the same in every thread: warps in order. `scratch`: shared memory of one T
// a warp, free again after the block's next sync.
template <class Thread, class T>
LOCKSTEP_DEVICE T block_sum(Thread& t, T value, T* scratch) {
  value = warp_sum(t, value);
  if (t.lane() == 0) scratch[t.warp()] = value;
  t.sync();
  T sum = scratch[0];
  for (int warp = 1; warp < t.count() / kWarp; ++warp) sum += scratch[warp];
  return sum;
}

// The least over a block, the same in every thread. `scratch`: as in block_sum().
template <class Thread, class T>
LOCKSTEP_DEVICE T block_min(Thread& t, T value, T* scratch) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const T other = t.shuffle_xor(value, mask);
    value = other < value ? other : value;
  }
  if (t.lane() == 0) scratch[t.warp()] = value;
  t.sync();
  for (int warp = 0; warp < t.count() / kWarp; ++warp) {
    value = scratch[warp] < value ? scratch[warp] : value;
  }
  return value;
}

}  // namespace lockstep::kernels::cuda
