// min_p, top_k and top_p of whole rows of logits, as shard/truncation.h defines them: which tokens
// may be drawn. Those that remain are the first of the ranking (kernels/ranking_key.h), so that one
// key says which: the last.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

struct RowTruncation {
  float temperature;     // above 0
  float least_distance;  // shard::least_distance(min_p)
  float top_p;           // 1: all
  std::int32_t top_k;    // 0: all
};

// NaN counts as -infinity. The largest logit of a row is finite or -infinity, and so is what it is
// divided by the temperature; else the cut is any.
struct TruncationArgs {
  const float* logits;  // modified: [rows, vocabulary], rows logits_stride apart
  std::int64_t logits_stride;
  const RowTruncation* truncation;  // [rows]
  std::uint64_t* cuts;              // [rows]: the largest ranking key that remains
  std::int32_t vocabulary;          // at most kMostWeighedTokens
  std::int32_t rows;
};

// A search first looks which window of distances from the row's best it ends in, so that few tokens
// are left to be sorted out; then it goes down a ranking key by its digits: three of the logit,
// then two of the token id, whose highest bits are zero.
inline constexpr int kCutWindows = 8;
inline constexpr float kCutWindow = 2.0f;  // of logit / temperature; the last has no end
struct CutDigit {
  int shift, bits;
};
inline constexpr int kCutDigits = 5, kLogitDigits = 3;
inline constexpr std::int32_t kMostCutBins = 2048;
constexpr CutDigit cut_digit(int i) {
  constexpr CutDigit kDigits[kCutDigits] = {{53, 11}, {42, 11}, {32, 10}, {10, 11}, {0, 10}};
  return kDigits[i];
}

// A block a row: its bins, the sums of windows, then what its warps exchange.
constexpr Grid truncation_grid(const TruncationArgs& args) {
  constexpr int kThreads = 1024;
  return {.x = args.rows,
          .threads = kThreads,
          .shared_bytes = (kMostCutBins + kCutWindows + kThreads / kWarp) *
                          std::int64_t{sizeof(std::uint64_t)}};
}

void launch_truncation(const TruncationArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda
