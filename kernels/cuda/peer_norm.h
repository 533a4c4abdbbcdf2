// The all-reduce of few rows between the GPUs of one host, fused with what adds its sum: every
// rank's kernel writes its segments into the memory of all ranks, waits for theirs, and adds all of
// them in the order of the tree (segment_sum.h), as the residual addition and RMSNorm (rms_norm.h)
// do with what a collective has gathered. The bits are the same.
//
// A block and its namesakes on the other ranks are a channel:
//   1. A channel's turns are counted in device memory, on each rank by its own block; nothing is
//      ever reset. So a recording may hold the kernel, and a block that has no row in some launches
//      counts only its own.
//   2. In turn n a block writes into slot n % 2 of its channel on every rank, and then the number
//      n + 1 into its flag there: a release over all of its block's writes.
//   3. It reads slot n % 2 of its own rank when every rank's flag there is at least n + 1.
//   4. It writes a slot again in turn n + 2, when everyone has entered turn n + 1, and so has ended
//      the launch of turn n. That is why two slots are enough.
//   5. A block that has waited too long leaves a word for the host and says nothing more, ever: the
//      others' turns do not build on what it could not compute.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/rms_norm.h"

namespace lockstep::kernels::cuda {

inline constexpr int kMaxPeers = 8;  // GPUs of a host that reach each other
// Channels: blocks that wait at the same time, so that all of them should have room on a GPU.
inline constexpr int kMaxPeerRows = 128;

// A rank's memory for it, the same on all ranks: in the beginning zeros. Offsets in bytes.
struct PeerLayout {
  std::int32_t rows = 0;        // channels
  std::int64_t row_floats = 0;  // of a slot: all segments of a row; a multiple of 4

  constexpr std::int64_t turns() const { return 0; }  // uint64 [rows]
  constexpr std::int64_t flags() const {              // uint64 [rows, kMaxPeers]
    return turns() + rows * std::int64_t{sizeof(std::uint64_t)};
  }
  constexpr std::int64_t slots() const {  // float [2, rows, row_floats]
    return divide_up(flags() + rows * std::int64_t{kMaxPeers * sizeof(std::uint64_t)}, 256) * 256;
  }
  constexpr std::int64_t bytes() const {
    return slots() + 2 * rows * row_floats * std::int64_t{sizeof(float)};
  }
};

// A rank's part of a sum.
struct PeerSum {
  std::byte* memory[kMaxPeers];  // of every rank, as this one addresses it
  PeerLayout layout;
  const float* segments;       // this rank's: [own, any rows, columns]
  std::int64_t stride;         // from one of them to the next, in floats
  std::int32_t first;          // this rank's, among all
  std::int32_t own;            // segments of this rank
  std::int32_t all;            // of all ranks; all * columns is at most layout.row_floats
  const std::int32_t* merges;  // [all]: SegmentSum
  std::int32_t rank, ranks;    // up to kMaxPeers
  std::int32_t what;           // what the sum is called, as a number: for failures
  std::uint64_t patience;      // nanoseconds to wait
  std::uint64_t* failures;     // [layout.rows]: a word a channel, of the host's memory; 0: none
};

// What a block leaves that has waited too long: for which rank, in which sum.
struct PeerFailure {
  std::int32_t missing;
  std::int32_t what;
};
constexpr std::uint64_t to_word(const PeerFailure& failure) {
  return std::uint64_t{1} << 63 | static_cast<std::uint64_t>(failure.what) << 32 |
         static_cast<std::uint32_t>(failure.missing);
}
constexpr PeerFailure to_failure(std::uint64_t word) {
  return {.missing = static_cast<std::int32_t>(word & 0xffffffffu),
          .what = static_cast<std::int32_t>(word >> 32 & 0x7fffffffu)};
}

struct PeerNormArgs {
  RmsNormArgs norm;  // its `update` is not looked at
  PeerSum update;
};

// A block a row, of which there are at most layout.rows.
constexpr Grid peer_norm_grid(const PeerNormArgs& args) {
  Grid grid = rms_norm_grid(args.norm);
  grid.shared_bytes += kMaxPeers * std::int64_t{sizeof(std::int32_t)};
  return grid;
}

// All ranks launch the same sums in the same order.
void launch_peer_norm(const PeerNormArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda
