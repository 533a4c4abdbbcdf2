#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/cuda/fa3_attention.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr std::int64_t kInt = sizeof(std::int32_t);

// Calls body(first, end) for the rows of every tile.
template <class Body>
void for_tiles(std::span<const RowPlace> places, bool apart, const Body& body) {
  const std::size_t most = apart ? 1 : kFa3TileRows;
  for (std::size_t first = 0, end; first < places.size(); first = end) {
    for (end = first + 1; end < places.size() && end - first < most &&
                          places[end].sequence == places[first].sequence &&
                          places[end].position == places[end - 1].position + 1;) {
      ++end;
    }
    body(first, end);
  }
}

}  // namespace

Fa3Layout::Fa3Layout(std::int32_t of_tiles) : tiles(of_tiles) {
  std::int64_t end = 0;
  for (std::int64_t Fa3Layout::*array :
       {&Fa3Layout::first_row, &Fa3Layout::rows, &Fa3Layout::keys, &Fa3Layout::first_block,
        &Fa3Layout::zeros, &Fa3Layout::ends}) {
    this->*array = end;
    end += tiles * kInt;
  }
  bytes = end + kInt;  // the last array has one more
}

std::int32_t count_fa3_tiles(std::span<const RowPlace> places, bool apart) {
  std::int32_t tiles = 0;
  for_tiles(places, apart, [&](std::size_t, std::size_t) { ++tiles; });
  return tiles;
}

void plan_fa3(std::span<const RowPlace> places, bool apart, std::int32_t block_size,
              std::int64_t stride, std::int32_t sequences, const Fa3Layout& layout,
              std::span<std::byte> buffer) {
  if (count_fa3_tiles(places, apart) != layout.tiles) {
    throw Error("attention by FA3: a plan of " + std::to_string(layout.tiles) + " tiles for " +
                std::to_string(count_fa3_tiles(places, apart)));
  }
  const auto ints = [&](std::int64_t offset) {
    return reinterpret_cast<std::int32_t*>(buffer.data() + offset);
  };
  std::int32_t tile = 0;
  for_tiles(places, apart, [&](std::size_t first, std::size_t end) {
    const RowPlace& last = places[end - 1];
    if (last.sequence < 0 || last.sequence >= sequences || places[first].position < 0 ||
        last.position >= stride * block_size) {
      throw Error("attention by FA3: position " + std::to_string(last.position) + " of sequence " +
                  std::to_string(last.sequence) + " lies outside the block tables");
    }
    ints(layout.first_row)[tile] = static_cast<std::int32_t>(first);
    ints(layout.rows)[tile] = static_cast<std::int32_t>(end - first);
    ints(layout.keys)[tile] = last.position + 1;
    ints(layout.first_block)[tile] = static_cast<std::int32_t>(last.sequence * stride);
    ints(layout.zeros)[tile] = 0;
    ints(layout.ends)[tile] = tile;
    ++tile;
  });
  ints(layout.ends)[tile] = tile;
}

}  // namespace lockstep::kernels::cuda
