#include "shard/gpu/flashinfer.h"

#include <algorithm>
#include <cmath>

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

// Room for parts beyond what is needed at all: fewer waves. In floats.
constexpr std::int64_t kPartFloats = 64 << 20;

std::int32_t chunks_of(std::int32_t positions) {
  return (positions + kFlashInferChunk - 1) / kFlashInferChunk;
}

std::int32_t rows_of_long_tile(std::int32_t group) { return kLongTile / group; }

// At least for one long tile, and for one token of every sequence: recordings are one launch.
std::int64_t room_for_parts(const FlashInferAttention::Sizes& sizes) {
  const std::int64_t chunks = chunks_of(std::max(sizes.max_positions, 1));
  const std::int64_t row_floats = std::int64_t{sizes.query_heads} * sizes.head_dim;
  return std::max({least_parts(sizes.group, std::max(sizes.max_positions, 1)),
                   sizes.max_sequences * chunks,
                   std::min(sizes.max_rows * chunks, kPartFloats / row_floats)});
}

// Enough for the plan of a step: every run of rows of one sequence is cut in long tiles, the last
// of which may be a short one.
FlashInferLimits limits_of(std::span<const RowPlace> places, std::int32_t group) {
  FlashInferLimits limits{};
  for (std::size_t begin = 0, end = 0; begin < places.size(); begin = end) {
    for (end = begin + 1; end < places.size() && places[end].sequence == places[begin].sequence &&
                          places[end].position == places[end - 1].position + 1;) {
      ++end;
    }
    const auto tiles = divide_up(static_cast<std::int64_t>(end - begin), rows_of_long_tile(group));
    const std::int32_t chunks = chunks_of(places[end - 1].position + 1);
    limits.short_items += chunks;
    limits.long_items += static_cast<std::int32_t>(tiles) * chunks;
  }
  return limits;
}

// The planner's mark of padding is a position of -1.
std::vector<RowPlace> with_padding(std::span<const RowPlace> places, std::int32_t rows) {
  std::vector<RowPlace> all(places.begin(), places.end());
  all.resize(static_cast<std::size_t>(rows), {.sequence = 0, .position = -1});
  return all;
}

}  // namespace

FlashInferAttention::FlashInferAttention(Gpu& gpu, const Sizes& sizes)
    : gpu_(gpu),
      sizes_(sizes),
      parts_(room_for_parts(sizes)),
      values_(gpu, "attention's chunks", parts_ * sizes.query_heads * sizes.head_dim),
      weights_(gpu, "attention's chunks", parts_ * sizes.query_heads) {}

std::size_t FlashInferAttention::device_bytes(const Sizes& sizes) {
  const std::int64_t floats =
      room_for_parts(sizes) * sizes.query_heads * (std::int64_t{sizes.head_dim} + 1);
  return static_cast<std::size_t>(floats) * sizeof(float);
}

std::size_t FlashInferAttention::upload_bytes(const Sizes& sizes) {
  const auto long_tiles =
      static_cast<std::int32_t>(divide_up(sizes.max_rows, rows_of_long_tile(sizes.group))) +
      sizes.max_sequences;
  const std::int32_t chunks = chunks_of(std::max(sizes.max_positions, 1));
  // Items of a recording are padded to twice as many at most.
  const FlashInferLayout largest({.rows = sizes.max_rows,
                                  .short_items = 2 * sizes.max_sequences * chunks,
                                  .long_items = long_tiles * chunks,
                                  .parts = room_for_parts(sizes)});
  return StepUpload::whole_pieces(static_cast<std::size_t>(largest.bytes));
}

std::int32_t FlashInferAttention::items_of_decoding(std::int32_t rows,
                                                    std::span<const ForwardSequence> batch) const {
  std::int32_t items = 0;
  for (const ForwardSequence& sequence : batch) items += chunks_of(sequence.first_position + 1);
  return padded_items(rows, items);
}

void FlashInferAttention::plan(std::span<const RowPlace> places, std::int32_t rows,
                               const BlockTables& tables, std::int32_t sequences,
                               std::int32_t items, StepUpload& upload) {
  FlashInferLimits limits = limits_of(places, sizes_.group);
  if (items > 0) {
    limits.short_items = items;
    limits.long_items = 0;
  }
  limits.rows = rows;
  limits.parts = parts_;
  layout_.emplace(limits);
  const auto plan = upload.add<std::byte>(layout_->bytes);
  waves_ = plan_flashinfer({.group = sizes_.group,
                            .block_size = sizes_.block_size,
                            .stride = tables.stride,
                            .sequences = sequences},
                           with_padding(places, rows), *layout_, plan.host)
               .waves;
  plan_ = plan.device;
  blocks_ = tables.blocks;
  padded_.reset();
  if (items > 0) padded_ = FlashInferGrid{.short_items = items, .long_items = 0, .rows = rows};
}

void FlashInferAttention::run(const std::uint16_t* q, const PagedCache& cache, std::uint16_t* out) {
  const FlashInferArgs args{.q = q,
                            .cache = cache,
                            .blocks = blocks_,
                            .plan = plan_,
                            .values = values_.data(),
                            .weights = weights_.data(),
                            .out = out,
                            .query_heads = sizes_.query_heads,
                            .scale = 1.0f / std::sqrt(static_cast<float>(sizes_.head_dim))};
  for (const FlashInferWave& wave : waves_) {
    gpu_.run(args, *layout_, wave, padded_.value_or(grid_of(wave)));
  }
}

}  // namespace lockstep::shard
