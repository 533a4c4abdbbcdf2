// The tokens of a row of logits, best first, sorted only as far as someone looks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "shard/row_scan.h"

namespace lockstep::shard {

// Token ids by logit descending, then id ascending. NaN and -infinity are left out. The row must
// outlive the object and stay as it is.
class RankedTokens {
 public:
  explicit RankedTokens(std::span<const float> row) : row_(row), maxima_(row) {}

  // The token of rank `rank` (0: the best), or -1 if there are not that many.
  // The first few hundred cost one or two passes over the row.
  std::int32_t at(std::size_t rank);

  // The row's largest logit.
  float top() const { return maxima_.top(); }

 private:
  void widen();
  void sort_more();

  std::span<const float> row_;
  BlockMaxima maxima_;
  // A key is smaller the better its token ranks. Invariants: keys_ holds exactly the tokens with
  // logits >= floor_; keys_[0, sorted_) are the smallest keys of all, ascending.
  std::vector<std::uint64_t> keys_;
  std::size_t sorted_ = 0;
  float distance_ = 2.0f;  // of floor_ from top(); a first guess of where the good tokens end
  float floor_ = std::numeric_limits<float>::infinity();
};

}  // namespace lockstep::shard
