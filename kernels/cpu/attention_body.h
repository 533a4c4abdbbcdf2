// Causal attention over a paged cache, for every family S: online softmax in passes of 64 positions
// counted from position 0, and partial results of chunks of 512 combined in order (Dao et al.,
// Flash-Decoding), so that a query's sums have one order however the prompt was chunked, whatever
// shares the batch, and whether one thread computed all chunks or each another.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention_pass.h"
#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels::cpu {

// So many tiles side by side are a stream that processors fetch ahead by themselves, if they do.
inline constexpr std::int32_t kRunTiles = 8;

// The work on some query rows of one call. How a pass is attended is up to `Pass`, one of
// VectorPass and others of its shape.
template <class S, KvFormat F, class Pass>
class AttentionRows {
 public:
  AttentionRows(const AttentionCall& call, std::int32_t row_begin, std::int32_t row_end)
      : call_(call),
        row_begin_(row_begin),
        queries_((row_end - row_begin) * call.heads),
        first_position_(call.first_position + row_begin),
        last_position_(call.first_position + row_end - 1),
        scratch_(call.scratch, kQueryRows * call.heads, call.head_dim) {}

  void attend_all() {
    [[maybe_unused]] const typename Pass::InUse in_use(queries_);
    round_queries();
    attend_chunk(0, scratch_.total);
    for (std::int32_t chunk = 1; chunk * kAttentionChunk <= last_position_; ++chunk) {
      attend_chunk(chunk, scratch_.chunk);
      combine(scratch_.total, chunk, scratch_.chunk);
    }
    write(scratch_.total);
  }

  void attend_one(std::int32_t chunk, float* part) {
    [[maybe_unused]] const typename Pass::InUse in_use(queries_);
    round_queries();
    attend_chunk(chunk, part_at(part, 0));
  }

  void combine_all(float* parts) {
    const AttentionPart total = part_at(parts, 0);
    for (std::int32_t chunk = 1; chunk * kAttentionChunk <= last_position_; ++chunk) {
      combine(total, chunk, part_at(parts, chunk));
    }
    write(total);
  }

 private:
  AttentionPart part_at(float* parts, std::int64_t i) const {
    return {parts + i * AttentionPart::floats(queries_, call_.head_dim), queries_, call_.head_dim};
  }

  // Where query i lies among rows `stride` apart.
  std::int64_t offset(std::int32_t i, std::int64_t stride) const {
    return (row_begin_ + i / call_.heads) * stride + i % call_.heads * call_.head_dim;
  }

  void round_queries() const {
    for (std::int32_t i = 0; i < queries_; ++i) {
      const float* query = call_.q + offset(i, call_.query_stride);
      for (std::int32_t d = 0; d < call_.head_dim; d += 16) {
        S::store_bf16(scratch_.query(i) + d, S::load(query + d));
      }
    }
  }

  void attend_chunk(std::int32_t chunk, const AttentionPart& part) {
    std::fill_n(part.states, queries_, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
    std::fill_n(part.outputs, queries_ * call_.head_dim, 0.0f);
    const std::int32_t begin = chunk * kAttentionChunk;
    const std::int32_t end = std::min(begin + kAttentionChunk, last_position_ + 1);
    for (std::int32_t start = begin; start < end; start += kPass) attend_pass(start, part);
  }

  static CachedTile cached(const AttentionCall& call, std::int32_t tile) {
    const std::byte* keys = call.cache +
                            call.block_table[tile / call.tiles_per_block] * call.block_stride +
                            tile % call.tiles_per_block * kv_tile_bytes(F, call.head_dim);
    return {keys, keys + call.value_offset};
  }

  // What is read a pass after `tile`, here or by the call that comes next; where there is none,
  // `tile`. Many rows compute for so long that nothing need be fetched for them. A few read several
  // tiles side by side, which is no stream to a processor.
  CachedTile ahead_of(std::int32_t tile) const {
    const std::int32_t later = tile + kPassTiles, last = last_position_ / kTile;
    if (call_.rows > kQueryRows) return cached(call_, tile);
    if (later <= last) {
      const bool streams = Pass::kRunsStream && call_.rows == 1 && follows_a_run(later);
      return cached(call_, streams ? tile : later);
    }
    if (call_.next == nullptr) return cached(call_, tile);
    return cached(*call_.next, std::min(later - last - 1, call_.next->first_position / kTile));
  }

  // Whether the keys of the tiles before it lie before it.
  bool follows_a_run(std::int32_t tile) const {
    return tile >= kRunTiles && cached(call_, tile).keys - cached(call_, tile - kRunTiles).keys ==
                                    kRunTiles * kv_tile_bytes(F, call_.head_dim);
  }

  PassTiles tiles_at(std::int32_t start) const {
    PassTiles pass;
    for (std::int32_t t = 0; t < tiles_of(last_position_ + 1 - start); ++t) {
      const std::int32_t tile = start / kTile + t;
      put_tile<S, F>(cached(call_, tile), ahead_of(tile), call_.head_dim, scratch_.tiles, t, pass);
    }
    return pass;
  }

  void attend_pass(std::int32_t start, const AttentionPart& part) {
    // Rows before this one lie before the pass.
    const std::int32_t first_row = std::max(start - first_position_, 0);
    const PassTiles tiles = tiles_at(start);
    Pass::attend({.call = call_,
                  .tiles = tiles,
                  .positions = last_position_ + 1 - start,
                  .first_query = first_row * call_.heads,
                  .queries = queries_,
                  .first_valid = first_position_ + 1 - start,
                  .scratch = scratch_,
                  .part = part});
  }

  // Adds a chunk's result to that of the chunks before it, for the queries that lie in it or later.
  void combine(const AttentionPart& total_part, std::int32_t chunk,
               const AttentionPart& part) const {
    const std::int32_t first_row = std::max(chunk * kAttentionChunk - first_position_, 0);
    for (std::int32_t i = first_row * call_.heads; i < queries_; ++i) {
      SoftmaxState& total = total_part.states[i];
      const SoftmaxState& added = part.states[i];
      const float maximum = std::max(total.maximum, added.maximum);
      const float old_factor = exp2_of<S>(total.maximum - maximum);
      const float new_factor = exp2_of<S>(added.maximum - maximum);
      total = {maximum, total.sum * old_factor + added.sum * new_factor};
      float* old_output = total_part.outputs + i * call_.head_dim;
      const float* new_output = part.outputs + i * call_.head_dim;
      for (std::int32_t d = 0; d < call_.head_dim; d += 16) {
        const auto scaled = S::mul(S::load(new_output + d), S::set(new_factor));
        S::store(old_output + d, S::fma(S::load(old_output + d), S::set(old_factor), scaled));
      }
    }
  }

  void write(const AttentionPart& total) const {
    for (std::int32_t i = 0; i < queries_; ++i) {
      const auto sum = S::set(total.states[i].sum);
      const float* output = total.outputs + i * call_.head_dim;
      float* out = call_.out + offset(i, call_.out_stride);
      for (std::int32_t d = 0; d < call_.head_dim; d += 16) {
        S::store(out + d, S::div(S::load(output + d), sum));
      }
    }
  }

  const AttentionCall& call_;
  const std::int32_t row_begin_;
  const std::int32_t queries_;
  const std::int32_t first_position_;
  const std::int32_t last_position_;
  const AttentionScratch scratch_;
};

// The three operations of a family (KernelTable), its passes being P<F> for a format F.
template <class S, template <KvFormat> class P>
struct AttentionOf {
  template <KvFormat F>
  using Rows = AttentionRows<S, F, P<F>>;

  static void attention(const AttentionCall& call) {
    call.format == KvFormat::int8 ? all<KvFormat::int8>(call) : all<KvFormat::bf16>(call);
  }

  static void chunk(const AttentionCall& call, std::int32_t chunk, float* part) {
    if (call.format == KvFormat::int8) {
      Rows<KvFormat::int8>(call, 0, call.rows).attend_one(chunk, part);
    } else {
      Rows<KvFormat::bf16>(call, 0, call.rows).attend_one(chunk, part);
    }
  }

  static void combine(const AttentionCall& call, float* parts) {
    // The format has no part in it.
    Rows<KvFormat::bf16>(call, 0, call.rows).combine_all(parts);
  }

 private:
  template <KvFormat F>
  static void all(const AttentionCall& call) {
    for (std::int32_t row = 0; row < call.rows; row += kQueryRows) {
      Rows<F>(call, row, std::min(row + kQueryRows, call.rows)).attend_all();
    }
  }
};

template <class S>
struct VectorAttention {
  template <KvFormat F>
  using Pass = VectorPass<S, F>;
  using Operations = AttentionOf<S, Pass>;
};

}  // namespace lockstep::kernels::cpu
