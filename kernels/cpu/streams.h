// Where few rows are multiplied, weights are read in one or several streams.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lockstep::kernels::cpu {

// Streams of weights that a machine with AMX reads together for few rows. Such a core runs ahead of
// a program by a number of lines in each stream that it sees, less than memory's latency asks for:
// with one stream, it waits (measured with products of one row: three give 1.2 to 1.4 times the
// speed). A Zen 4 runs far enough ahead of one stream, and three give it 0.7 times the speed.
inline constexpr std::size_t kUnitStreams = 3;

// Cuts [begin, end) into N runs of one length and calls visit with an array of their first
// elements, then of their second ones, and so on; what is left over goes one by one.
template <std::size_t N, class Visit>
void visit_together(std::int64_t begin, std::int64_t end, const Visit& visit) {
  const std::int64_t length = (end - begin) / std::int64_t{N};
  for (std::int64_t i = 0; i < length; ++i) {
    std::array<std::int64_t, N> each;
    for (std::size_t s = 0; s < N; ++s) each[s] = begin + static_cast<std::int64_t>(s) * length + i;
    visit(each);
  }
  for (std::int64_t i = begin + std::int64_t{N} * length; i < end; ++i) {
    visit(std::array<std::int64_t, 1>{i});
  }
}

}  // namespace lockstep::kernels::cpu
