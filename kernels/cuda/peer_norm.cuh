// The all-reduce of few rows fused with RMSNorm: device code. The numbers are peer_norm.h's rules.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/peer_norm.h"
#include "kernels/cuda/rms_norm.cuh"

namespace lockstep::kernels::cuda {

inline constexpr std::uint64_t kDeadChannel = ~std::uint64_t{0};

LOCKSTEP_DEVICE std::uint64_t* turn_of(const PeerSum& sum, int channel) {
  return reinterpret_cast<std::uint64_t*>(sum.memory[sum.rank] + sum.layout.turns()) + channel;
}

// Where rank `from` tells rank `to` which turn it has reached.
LOCKSTEP_DEVICE std::uint64_t* flag_of(const PeerSum& sum, int to, int channel, int from) {
  return reinterpret_cast<std::uint64_t*>(sum.memory[to] + sum.layout.flags()) +
         channel * kMaxPeers + from;
}

LOCKSTEP_DEVICE float* slot_of(const PeerSum& sum, int to, int channel, std::uint64_t turn) {
  const auto slot = static_cast<std::int64_t>(turn % 2) * sum.layout.rows + channel;
  return reinterpret_cast<float*>(sum.memory[to] + sum.layout.slots()) +
         slot * sum.layout.row_floats;
}

// Rule 2, but for the flags: this rank's segments of the row, into every rank's slot.
template <class Thread>
LOCKSTEP_DEVICE void write_to_peers(Thread& t, const PeerSum& sum, std::int64_t row, int columns,
                                    std::uint64_t turn) {
  for (std::int32_t segment = 0; segment < sum.own; ++segment) {
    const float* from = sum.segments + segment * sum.stride + row * columns;
    const std::int64_t to = std::int64_t{sum.first + segment} * columns;
    for (int column = 4 * t.index(); column < columns; column += 4 * t.count()) {
      const Pack<float, 4> values = t.load(as_pack<4>(from + column));
      for (int peer = 0; peer < sum.ranks; ++peer) {
        t.store(as_pack<4>(slot_of(sum, peer, t.block_x(), turn) + to + column), values);
      }
    }
  }
}

// Rule 3, for one rank: whether it comes in time.
template <class Thread>
LOCKSTEP_DEVICE bool comes(Thread& t, const PeerSum& sum, int peer, std::uint64_t turn) {
  const std::uint64_t* flag = flag_of(sum, sum.rank, t.block_x(), peer);
  const std::uint64_t begin = t.nanoseconds();
  while (t.load_acquire(flag) < turn + 1) {
    if (t.nanoseconds() - begin > sum.patience) return false;
  }
  return true;
}

// A block a row. A thread tells one rank, and waits for that one.
template <int kPacks, class Thread>
LOCKSTEP_DEVICE void peer_norm(Thread& t, const PeerNormArgs& args) {
  const PeerSum& sum = args.update;
  const int columns = args.norm.columns, channel = t.block_x();
  const std::uint64_t turn = t.load(turn_of(sum, channel));
  if (turn == kDeadChannel) return;
  const std::int64_t row = row_of(t, args.norm);
  write_to_peers(t, sum, row, columns, turn);
  t.sync();
  std::int32_t* came =
      t.template shared<std::int32_t>(rms_norm_grid(args.norm).shared_bytes, kMaxPeers);
  if (const int peer = t.index(); peer < sum.ranks) {
    t.store_release(flag_of(sum, peer, channel, sum.rank), turn + 1);
    came[peer] = comes(t, sum, peer, turn) ? 1 : 0;
  }
  t.sync();
  int missing = 0;
  while (missing < sum.ranks && came[missing] != 0) ++missing;
  const bool all_came = missing == sum.ranks;
  if (t.index() == 0) {
    t.store(turn_of(sum, channel), all_came ? turn + 1 : kDeadChannel);
    if (!all_came) {
      t.store_release(sum.failures + channel, to_word({.missing = missing, .what = sum.what}));
    }
  }
  if (!all_came) return;
  // Not before: the next kernel's blocks might have the room that another rank's kernels need to
  // come, where ranks share a GPU.
  t.let_next_begin();
  rms_norm_row<kPacks>(t, args.norm, row,
                       {slot_of(sum, sum.rank, channel, turn), columns, sum.all, sum.merges}, 0);
}

}  // namespace lockstep::kernels::cuda
