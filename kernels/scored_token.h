// A token with what it is ranked by.
#pragma once

#include <cstdint>
#include <limits>

namespace lockstep::kernels {

// Travels between ranks, and between a GPU and its host, as its bytes.
struct ScoredToken {
  float score = -std::numeric_limits<float>::infinity();
  std::int32_t token_id = -1;  // -1: no token is possible
};
static_assert(sizeof(ScoredToken) == 8);

// Whether `a` is chosen rather than `b`: the higher score, then the lower id.
constexpr bool wins(ScoredToken a, ScoredToken b) {
  if (a.token_id < 0 || b.token_id < 0) return a.token_id >= 0;
  return a.score > b.score || (a.score == b.score && a.token_id < b.token_id);
}

}  // namespace lockstep::kernels
