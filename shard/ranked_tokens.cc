#include "shard/ranked_tokens.h"

#include <algorithm>

#include "kernels/ranking_key.h"

namespace lockstep::shard {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

std::int32_t RankedTokens::at(std::size_t rank) {
  while (rank >= sorted_) {
    if (sorted_ < keys_.size()) {
      sort_more();
    } else if (floor_ > -kInfinity) {
      widen();
    } else {
      return -1;
    }
  }
  return kernels::token_of(keys_[rank]);
}

// Adds the tokens of a wider distance from the top: a row of a language model falls off so fast
// that the tokens of interest are a small part of it.
void RankedTokens::widen() {
  distance_ *= 2.0f;
  const float ceiling = floor_;
  floor_ = top() - distance_;
  for (std::size_t block = 0; block < maxima_.values().size(); ++block) {
    if (!(maxima_.values()[block] >= floor_)) continue;
    const std::span<const float> values = scan_block(row_, block);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] >= floor_ && values[i] < ceiling && values[i] > -kInfinity) {
        const auto token = static_cast<std::int32_t>(block * BlockMaxima::kScanBlock + i);
        keys_.push_back(kernels::ranking_key(values[i], token));
      }
    }
  }
}

// Sorts a further part of the keys, four times as many as before: a flat row has all its tokens in
// the first window, of which few may be looked at.
void RankedTokens::sort_more() {
  const std::size_t end = std::min(keys_.size(), std::max<std::size_t>(256, sorted_ * 4));
  const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  const auto last = keys_.begin() + static_cast<std::ptrdiff_t>(end);
  if (end < keys_.size()) std::nth_element(first, last, keys_.end());
  std::sort(first, last);
  sorted_ = end;
}

}  // namespace lockstep::shard
