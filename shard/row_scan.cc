#include "shard/row_scan.h"

#include <algorithm>
#include <array>

#include "kernels/token_weight.h"

namespace lockstep::shard {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr std::size_t kLanes = 16;

// The maximum with independent lanes: the compiler may not reorder a single running maximum, but
// it turns the inner loop into vector code. The comparison drops NaN.
float maximum(std::span<const float> values) {
  std::array<float, kLanes> lanes;
  lanes.fill(kNothing);
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    }
  }
  for (; i < values.size(); ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) {
      lanes[lane] = lanes[lane + half] > lanes[lane] ? lanes[lane + half] : lanes[lane];
    }
  }
  return lanes[0];
}

}  // namespace

BlockMaxima::BlockMaxima(std::span<const float> row)
    : maxima_((row.size() + kScanBlock - 1) / kScanBlock) {
  for (std::size_t block = 0; block < maxima_.size(); ++block) {
    maxima_[block] = maximum(scan_block(row, block));
    if (maxima_[block] > top_) {
      top_ = maxima_[block];
      top_block_ = block;
    }
  }
}

std::uint64_t sum_of_weights(std::span<const float> row, float divisor, float top) {
  std::uint64_t sum = 0;
  for (const float logit : row) sum += kernels::token_weight(logit / divisor - top);
  return sum;
}

}  // namespace lockstep::shard
