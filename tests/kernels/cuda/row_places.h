// Rows of a batch for tests of attention.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

// `count` rows of a sequence from position `first` on.
inline std::vector<RowPlace> rows_of(std::int32_t sequence, std::int32_t first,
                                     std::int32_t count) {
  std::vector<RowPlace> places;
  for (std::int32_t i = 0; i < count; ++i) places.push_back({sequence, first + i});
  return places;
}

// `row` between `others` rows that decode and as many of a prompt, of sequences 1 and 2 with
// `positions` positions.
inline std::vector<RowPlace> in_company(RowPlace row, std::int32_t others, std::int32_t positions) {
  std::vector<RowPlace> places;
  for (std::int32_t i = 0; i < others; ++i) places.push_back({1 + i % 2, 31 * i % positions});
  places.push_back(row);
  for (const RowPlace place : rows_of(2, 5, others)) places.push_back(place);
  return places;
}

}  // namespace lockstep::kernels::cuda
