#include "kernels/cuda/flashinfer_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr std::int64_t kInt = sizeof(std::int32_t);

// Hands out places in a buffer, each aligned to 16 bytes.
class Places {
 public:
  std::int64_t take(std::int64_t bytes) {
    const std::int64_t place = end_;
    end_ += (bytes + 15) / 16 * 16;
    return place;
  }
  FlashInferTiles take_tiles(std::int64_t items) {
    FlashInferTiles tiles{};
    for (std::int64_t FlashInferTiles::*array :
         {&FlashInferTiles::first_row, &FlashInferTiles::rows, &FlashInferTiles::keys,
          &FlashInferTiles::first_part, &FlashInferTiles::tile, &FlashInferTiles::chunk,
          &FlashInferTiles::zeros}) {
      tiles.*array = take(items * kInt);
    }
    tiles.first_block = take((items + 1) * kInt);
    tiles.valid = take(items * std::int64_t{sizeof(bool)});
    return tiles;
  }
  std::int64_t end() const { return end_; }

 private:
  std::int64_t end_ = 0;
};

class Planner {
 public:
  Planner(const FlashInferShape& shape, std::span<const RowPlace> places,
          const FlashInferLayout& layout, std::span<std::byte> buffer)
      : shape_(shape), places_(places), layout_(layout), buffer_(buffer) {
    check();
    std::fill(buffer.begin(), buffer.end(), std::byte{0});
    *ints(layout.chunk_size) = shape.chunk;
    const auto table_end = static_cast<std::int32_t>(shape.sequences * shape.stride);
    ints(layout.short_tiles.first_block)[layout.limits.short_items] = table_end;
    ints(layout.long_tiles.first_block)[layout.limits.long_items] = table_end;
  }

  FlashInferPlan plan() {
    const auto rows = static_cast<std::int32_t>(places_.size());
    for (std::int32_t row = 0; row < rows;) row = add_tile(row);
    end_wave(rows);
    plan_.short_items = short_.items;
    plan_.long_items = long_.items;
    return std::move(plan_);
  }

 private:
  struct Used {
    std::int32_t tiles = 0, items = 0;
  };

  void check() const {
    const FlashInferLimits& limits = layout_.limits;
    if (shape_.group < 1 || shape_.group > kShortTile) {
      fail(std::to_string(shape_.group) + " query heads per key-value head: it takes 1 to " +
           std::to_string(kShortTile));
    }
    if (shape_.sequences * shape_.stride * shape_.block_size >
        std::numeric_limits<std::int32_t>::max()) {
      fail("its block tables are of more than 2^31 positions");
    }
    if (shape_.chunk < 64 || shape_.chunk % 64 != 0) {
      fail("a chunk of " + std::to_string(shape_.chunk) + " positions is no multiple of 64");
    }
    if (static_cast<std::int64_t>(buffer_.size()) < layout_.bytes) fail("its buffer is too small");
    if (static_cast<std::int64_t>(places_.size()) > limits.rows) {
      fail(std::to_string(places_.size()) + " rows, planned for " + std::to_string(limits.rows));
    }
  }

  // Plans the tile that begins at `row`, and returns the row behind it.
  std::int32_t add_tile(std::int32_t row) {
    const RowPlace first = places_[static_cast<std::size_t>(row)];
    if (first.position < 0) return row + 1;  // padding: no chunks
    const std::int32_t rows = tile_rows(row);
    const bool is_short = rows * shape_.group <= kShortTile;
    const std::int32_t keys = first.position + rows;
    if (first.sequence < 0 || first.sequence >= shape_.sequences ||
        keys > shape_.stride * shape_.block_size) {
      fail("row " + std::to_string(row) + " is outside the block tables: sequence " +
           std::to_string(first.sequence) + ", position " + std::to_string(keys - 1));
    }
    const std::int32_t chunks = chunks_of(keys);
    begin_wave_if_full(row, std::int64_t{rows} * chunks);

    const FlashInferTiles& arrays = is_short ? layout_.short_tiles : layout_.long_tiles;
    Used& used = is_short ? short_ : long_;
    const std::int32_t most = is_short ? layout_.limits.short_items : layout_.limits.long_items;
    if (chunks > most - used.items) {
      fail("more than " + std::to_string(most) + " items of " + (is_short ? "short" : "long") +
           " tiles");
    }
    const std::int32_t tile = used.tiles++;
    ints(arrays.first_row)[tile] = row;
    ints(arrays.rows)[tile] = rows;
    ints(arrays.keys)[tile] = keys;
    ints(arrays.first_block)[tile] = static_cast<std::int32_t>(first.sequence * shape_.stride);
    ints(arrays.first_part)[tile] = static_cast<std::int32_t>(parts_);
    for (std::int32_t chunk = 0; chunk < chunks; ++chunk, ++used.items) {
      ints(arrays.tile)[used.items] = tile;
      ints(arrays.chunk)[used.items] = chunk;
      buffer_[static_cast<std::size_t>(arrays.valid + used.items)] = std::byte{1};
    }
    for (std::int32_t i = 0; i < rows; ++i, parts_ += chunks) {
      ints(layout_.row_part)[row + i] = static_cast<std::int32_t>(parts_);
      ints(layout_.row_chunks)[row + i] = chunks_of(first.position + i + 1);
    }
    return row + rows;
  }

  // Rows from `row` on that follow each other in a sequence, as many as a tile takes.
  std::int32_t tile_rows(std::int32_t row) const {
    const std::int32_t most = kLongTile / shape_.group;
    const RowPlace first = places_[static_cast<std::size_t>(row)];
    std::int32_t rows = 1;
    while (rows < most && static_cast<std::size_t>(row + rows) < places_.size()) {
      const RowPlace next = places_[static_cast<std::size_t>(row + rows)];
      if (next.sequence != first.sequence || next.position != first.position + rows) break;
      ++rows;
    }
    return rows;
  }

  std::int32_t chunks_of(std::int32_t keys) const {
    return (keys + shape_.chunk - 1) / shape_.chunk;
  }

  void begin_wave_if_full(std::int32_t row, std::int64_t parts) {
    if (parts > layout_.limits.parts) {
      fail("rows up to " + std::to_string(row) + " need " + std::to_string(parts) +
           " parts at a time, and there is room for " + std::to_string(layout_.limits.parts));
    }
    if (parts_ + parts > layout_.limits.parts) end_wave(row);
  }

  void end_wave(std::int32_t end_row) {
    plan_.waves.push_back({.first_row = wave_row_,
                           .rows = end_row - wave_row_,
                           .first_short_item = wave_short_,
                           .short_items = short_.items - wave_short_,
                           .first_long_item = wave_long_,
                           .long_items = long_.items - wave_long_});
    plan_.most_parts = std::max(plan_.most_parts, parts_);
    wave_row_ = end_row;
    wave_short_ = short_.items;
    wave_long_ = long_.items;
    parts_ = 0;
  }

  std::int32_t* ints(std::int64_t offset) const {
    return reinterpret_cast<std::int32_t*>(buffer_.data() + offset);
  }

  [[noreturn]] static void fail(const std::string& what) {
    throw Error("attention by FlashInfer: " + what);
  }

  const FlashInferShape shape_;
  const std::span<const RowPlace> places_;
  const FlashInferLayout& layout_;
  const std::span<std::byte> buffer_;
  FlashInferPlan plan_;
  Used short_, long_;
  std::int32_t wave_row_ = 0, wave_short_ = 0, wave_long_ = 0;
  std::int64_t parts_ = 0;  // of this wave
};

}  // namespace

FlashInferLayout::FlashInferLayout(const FlashInferLimits& of) : limits(of) {
  Places places;
  short_tiles = places.take_tiles(of.short_items);
  long_tiles = places.take_tiles(of.long_items);
  row_part = places.take(of.rows * kInt);
  row_chunks = places.take(of.rows * kInt);
  chunk_size = places.take(kInt);
  bytes = places.end();
}

FlashInferPlan plan_flashinfer(const FlashInferShape& shape, std::span<const RowPlace> places,
                               const FlashInferLayout& layout, std::span<std::byte> buffer) {
  return Planner(shape, places, layout, buffer).plan();
}

std::int32_t padded_items(std::int32_t rows, std::int32_t items) {
  std::int64_t padded = std::max(rows, 1);
  while (padded < items) padded *= 2;
  return static_cast<std::int32_t>(padded);
}

}  // namespace lockstep::kernels::cuda
