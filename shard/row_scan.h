// Fast looks over a row of logits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace lockstep::shard {

// The largest value of every kScanBlock consecutive values of a row (the last block may be
// shorter). NaN is ignored; -infinity where nothing else is. One pass at about memory speed.
class BlockMaxima {
 public:
  static constexpr std::size_t kScanBlock = 128;

  explicit BlockMaxima(std::span<const float> row);

  std::span<const float> values() const { return maxima_; }
  // The first block that holds the row's maximum. REQUIRES: the row is not empty.
  std::size_t top_block() const { return top_block_; }
  // The row's maximum; -infinity for an empty row.
  float top() const { return top_; }

 private:
  std::vector<float> maxima_;
  std::size_t top_block_ = 0;
  float top_ = -std::numeric_limits<float>::infinity();
};

// The values [block * kScanBlock, ...) of a row that belong to `block`.
inline std::span<const float> scan_block(std::span<const float> row, std::size_t block) {
  const std::size_t begin = block * BlockMaxima::kScanBlock;
  return row.subspan(begin, std::min(BlockMaxima::kScanBlock, row.size() - begin));
}

// The sum of the tokens' weights (kernels/token_weight.h), at distances row[i] / divisor - top.
// REQUIRES: no quotient exceeds top; at most kernels::kMostWeighedTokens values.
std::uint64_t sum_of_weights(std::span<const float> row, float divisor, float top);

}  // namespace lockstep::shard
