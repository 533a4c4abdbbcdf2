#include "shard/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/cpu/attention_scratch.h"

namespace lockstep::shard {
namespace {

using kernels::cpu::kAttentionChunk;

// Query rows of one item: enough to share the work of one long prompt over the threads.
constexpr std::int32_t kItemRows = 32;
// Below so many items for a thread, items are made smaller.
constexpr std::int64_t kItemsPerThread = 4;
// Rows that may be cut into chunks: those that share a pass. One sequence's drafts are no more by
// default.
constexpr std::int32_t kFewRows = kernels::cpu::kQueryRows;

std::int32_t chunks_up_to(std::int32_t position) { return position / kAttentionChunk + 1; }

std::int64_t whole_lines(std::int64_t floats) { return (floats + 15) / 16 * 16; }

std::size_t float_bytes(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(float);
}

// Query heads of a key-value head.
std::int32_t queries_of_head(const model::ModelConfig& config) {
  return static_cast<std::int32_t>(config.num_attention_heads / config.num_key_value_heads);
}

std::int64_t scratch_of_thread(const model::ModelConfig& config) {
  return whole_lines(kernels::cpu::attention_scratch_floats(
      queries_of_head(config), static_cast<std::int32_t>(config.head_dim)));
}

std::int64_t floats_of_piece(const model::ModelConfig& config) {
  return kernels::cpu::attention_part_floats(queries_of_head(config),
                                             static_cast<std::int32_t>(config.head_dim));
}

// Rows of pieces: where items are few, each has a row, or one sequence has as many as share a pass.
std::int64_t most_parts(const Partition& part, std::int64_t threads, std::int32_t max_positions) {
  const std::int64_t rows =
      std::max<std::int64_t>(kItemsPerThread * threads, kFewRows * part.key_value_heads.size());
  return rows * chunks_up_to(max_positions);
}

}  // namespace

Attention::Attention(const model::ModelConfig& config, const Partition& part,
                     std::int32_t max_positions, kernels::ThreadPool& pool,
                     const kernels::cpu::KernelTable& kernels)
    : config_(config),
      part_(part),
      pool_(pool),
      kernels_(kernels),
      max_queries_(queries_of_head(config)),
      scratch_floats_(scratch_of_thread(config)),
      part_floats_(floats_of_piece(config)),
      max_parts_(most_parts(part, pool.size(), max_positions)),
      scratch_(float_bytes(pool.size() * scratch_floats_)),
      parts_(float_bytes(max_parts_ * part_floats_)) {}

std::size_t Attention::bytes(const model::ModelConfig& config, const Partition& part,
                             std::int32_t max_positions, std::int64_t threads) {
  return float_bytes(threads * scratch_of_thread(config)) +
         float_bytes(most_parts(part, threads, max_positions) * floats_of_piece(config));
}

void Attention::lay_out(std::span<const ForwardSequence> batch) {
  items_.clear();
  long_items_.clear();
  pieces_.clear();
  num_parts_ = 0;
  const Cuts cuts = cuts_for(batch);
  std::int32_t first_row = 0;
  for (std::size_t s = 0; s < batch.size(); ++s) {
    const auto rows = static_cast<std::int32_t>(batch[s].token_ids.size());
    lay_out_sequence(static_cast<std::int32_t>(s), first_row, rows, batch[s].first_position, cuts);
    first_row += rows;
  }
  num_rows_ = first_row;
}

// Query heads of one key-value head read its keys and values together. Where that leaves too few
// items to share them out evenly, a few rows with long keys are cut into their chunks. Where these
// would be too few as well, rows are taken apart, and where there are hardly any, query heads.
Attention::Cuts Attention::cuts_for(std::span<const ForwardSequence> batch) const {
  const std::int64_t wanted = kItemsPerThread * pool_.size();
  const std::int64_t heads = part_.key_value_heads.size();
  std::int64_t items = 0, all_rows = 0, pieces = 0, parts = 0;
  for (const ForwardSequence& sequence : batch) {
    const auto rows = static_cast<std::int32_t>(sequence.token_ids.size());
    items += (rows + kItemRows - 1) / kItemRows * heads;
    all_rows += rows * heads;
    if (rows > kFewRows) continue;
    const std::int64_t chunks = heads * chunks_up_to(sequence.first_position + rows - 1);
    pieces += chunks;
    parts += chunks * rows;
  }
  constexpr Cuts kWhole{kItemRows, false, false};
  if (items >= wanted || pool_.size() == 1) return kWhole;
  if (pieces >= wanted && parts <= max_parts_) return {kItemRows, false, true};
  if (items % pool_.size() == 0) return kWhole;
  const bool few_rows = all_rows < pool_.size();
  if (few_rows) all_rows *= max_queries_;
  return {static_cast<std::int32_t>(std::max<std::int64_t>(1, all_rows / wanted)), few_rows, false};
}

void Attention::lay_out_sequence(std::int32_t sequence, std::int32_t first_row, std::int32_t rows,
                                 std::int32_t first_position, const Cuts& cuts) {
  const std::int32_t chunks = chunks_up_to(first_position + rows - 1);
  for (std::int32_t head = 0; head < part_.key_value_heads.size(); ++head) {
    const Range all = part_.queries_of(part_.key_value_heads.begin + head, config_);
    const std::int32_t step = cuts.heads_apart ? 1 : all.size();
    for (std::int32_t query = all.begin; query < all.end; query += step) {
      const std::int32_t own = query - part_.query_heads.begin;
      for (std::int32_t row = 0; row < rows; row += cuts.rows) {
        Item item{.sequence = sequence,
                  .key_value_head = head,
                  .query_heads = {own, own + step},
                  .first_row = first_row + row,
                  .first_position = first_position + row,
                  .rows = std::min(cuts.rows, rows - row)};
        if (!cuts.chunks_apart || rows > kFewRows || chunks == 1) {
          items_.push_back(item);
          continue;
        }
        item.first_part = num_parts_;
        num_parts_ += std::int64_t{chunks} * rows;
        for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
          pieces_.push_back({static_cast<std::int32_t>(long_items_.size()), chunk});
        }
        long_items_.push_back(item);
      }
    }
  }
}

void Attention::run(std::span<const ForwardSequence> batch, KvCache& cache, std::int64_t layer,
                    const Activations& queries, Activations& attended, RoundedForms forms) {
  const std::int64_t head_dim = config_.head_dim;
  const auto call = [&](const Item& item, int thread) {
    const std::int64_t column = item.query_heads.begin * head_dim;
    return kernels::cpu::AttentionCall{
        .q = queries.row(item.first_row) + column,
        .out = attended.row(item.first_row) + column,
        .query_stride = queries.columns(),
        .out_stride = attended.columns(),
        .rows = item.rows,
        .first_position = item.first_position,
        .heads = item.query_heads.size(),
        .head_dim = static_cast<std::int32_t>(head_dim),
        .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
        .format = cache.format(),
        .cache = cache.keys(layer, item.key_value_head),
        .block_stride = cache.block_stride(),
        .value_offset = cache.value_offset(),
        .tiles_per_block = cache.block_size() / kernels::kKvTile,
        .block_table = batch[static_cast<std::size_t>(item.sequence)].block_table.data(),
        .scratch = scratch_.as<float>() + thread * scratch_floats_};
  };
  // Tiles are of many items' rows: they are made at the end.
  const RoundedForms by_item{.bf16 = forms.bf16, .int8 = forms.int8};
  const auto round = [&](const Item& item) {
    attended.round(kernels_, by_item, item.first_row, item.first_row + item.rows,
                   item.query_heads.begin * head_dim, item.query_heads.size() * head_dim);
  };
  share_out(pieces_.size() + items_.size(), [&](int thread, std::size_t i) {
    if (i < pieces_.size()) {
      const auto [long_item, chunk] = pieces_[i];
      const Item& item = long_items_[static_cast<std::size_t>(long_item)];
      // One after the other: fewer heads than a whole group leave room behind the last.
      const std::int64_t floats = kernels::cpu::attention_part_floats(
          item.rows * item.query_heads.size(), static_cast<std::int32_t>(head_dim));
      kernels_.attention_chunk(call(item, thread), chunk, parts_of(item) + chunk * floats);
    } else {
      const Item& item = items_[i - pieces_.size()];
      kernels::cpu::AttentionCall now = call(item, thread), next;
      // Probably this thread's next one: threads take items in turns.
      const std::size_t later = i - pieces_.size() + static_cast<std::size_t>(pool_.size());
      if (later < items_.size() && items_[later].rows == 1) {
        next = call(items_[later], thread);
        now.next = &next;
      }
      kernels_.attention(now);
      round(item);
    }
  });
  share_out(long_items_.size(), [&](int thread, std::size_t i) {
    const Item& item = long_items_[i];
    kernels_.combine_chunks(call(item, thread), parts_of(item));
    round(item);
  });
  if (!forms.tiles) return;
  for_rows(pool_, num_rows_, forms, [&](std::int64_t begin, std::int64_t end) {
    attended.round(kernels_, {.tiles = true}, begin, end);
  });
}

template <class Work>
void Attention::share_out(std::size_t count, const Work& work) {
  if (count <= 1) {
    if (count == 1) work(0, 0);
    return;
  }
  std::atomic<std::size_t> next{0};
  pool_.run([&](int thread) {
    for (std::size_t i = next++; i < count; i = next++) work(thread, i);
  });
}

}  // namespace lockstep::shard
