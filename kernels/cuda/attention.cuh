// Causal attention over a paged cache: device code.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device_function.h"
#include "kernels/cuda/exponential.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/fp8.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// Of the scores that are behind a sum of weighted values: the largest, and the sum of
// e^(score - largest).
struct SoftmaxState {
  float largest;
  float sum;
};

// Eight numbers of a cached key or value from index `at` on, without their scale.
template <CacheFormat format, class Thread>
LOCKSTEP_DEVICE void load_cached(Thread& t, const void* array, std::int64_t at,
                                 float (&values)[8]) {
  if constexpr (format == CacheFormat::bf16) {
    const auto stored = t.load(as_pack<8>(static_cast<const std::uint16_t*>(array) + at));
    for (int i = 0; i < 8; ++i) values[i] = bf16_to_float(stored[i]);
  } else {
    const auto stored = t.load(as_pack<8>(static_cast<const std::uint8_t*>(array) + at));
    for (int i = 0; i < 8; ++i) values[i] = e4m3_to_float(stored[i]);
  }
}

// Adds a later chunk's value to `total`. The states say by how much each has to be scaled.
LOCKSTEP_DEVICE float combined(float total, SoftmaxState of_total, float value,
                               SoftmaxState of_value) {
  const float largest = of_value.largest > of_total.largest ? of_value.largest : of_total.largest;
  return fmaf(value, exp_nonpositive(of_value.largest - largest),
              total * exp_nonpositive(of_total.largest - largest));
}
LOCKSTEP_DEVICE SoftmaxState combined(SoftmaxState total, SoftmaxState value) {
  return {value.largest > total.largest ? value.largest : total.largest,
          combined(total.sum, total, value.sum, value)};
}

// One block's work on some query heads of one row.
template <CacheFormat format, class Thread>
class RowAttention {
 public:
  LOCKSTEP_DEVICE RowAttention(Thread& t, const AttentionArgs& args)
      : t_(t),
        args_(args),
        memory_{args.cache.head_dim},
        row_(t.block_x() / args.num_runs),
        run_(t.load(args.runs + t.block_x() % args.num_runs)),
        place_(t.load(args.places + row_)),
        head_dim_(args.cache.head_dim) {}

  LOCKSTEP_DEVICE std::int32_t chunks() const { return chunks_up_to(place_.position); }

  // Queries in f32.
  LOCKSTEP_DEVICE void load_queries() {
    float* queries = floats(memory_.queries(), kRunHeads * head_dim_);
    const std::uint16_t* q = args_.q + output_at(0);
    for (int i = t_.index(); i < kRunHeads * head_dim_; i += t_.count()) {
      queries[i] = i < run_.queries * head_dim_ ? bf16_to_float(t_.load(q + i)) : 0.0f;
    }
  }

  // Leaves the chunk's sums and states in shared memory, for all threads to read.
  LOCKSTEP_DEVICE void attend(std::int32_t chunk) {
    const std::int32_t begin = chunk * kChunkPositions;
    const std::int32_t left = place_.position + 1 - begin;
    const int count = left < kChunkPositions ? left : kChunkPositions;
    find_positions(begin, count);
    t_.sync();
    score(count);
    t_.sync();
    weigh(count);
    t_.sync();
    sum_values(count);
    t_.sync();
    sum_subsets();
    t_.sync();
  }

  // Writes what attend() left as a part.
  LOCKSTEP_DEVICE void write_part(std::int32_t chunk) {
    const float* outputs = floats(memory_.outputs(), kRunHeads * head_dim_);
    const SoftmaxState* state = states(memory_.states());
    const std::int64_t first =
        (std::int64_t{row_} * args_.chunks + chunk) * args_.query_heads + run_.first_query;
    for (int i = t_.index(); i < run_.queries * head_dim_; i += t_.count()) {
      float* part = args_.parts + (first + i / head_dim_) * part_stride(head_dim_);
      t_.store(part + i % head_dim_, outputs[i]);
      if (i % head_dim_ != 0) continue;
      t_.store(part + head_dim_, state[i / head_dim_].largest);
      t_.store(part + head_dim_ + 1, state[i / head_dim_].sum);
    }
  }

  // Adds what attend() left to the totals, or begins them with it.
  LOCKSTEP_DEVICE void add_to_totals(bool first) {
    const float* outputs = floats(memory_.outputs(), kRunHeads * head_dim_);
    float* totals = floats(memory_.totals(), kRunHeads * head_dim_);
    const SoftmaxState* state = states(memory_.states());
    SoftmaxState* total_state = states(memory_.total_states());
    for (int i = t_.index(); i < run_.queries * head_dim_; i += t_.count()) {
      const int head = i / head_dim_;
      totals[i] =
          first ? outputs[i] : combined(totals[i], total_state[head], outputs[i], state[head]);
    }
    t_.sync();
    if (t_.index() < run_.queries) {
      total_state[t_.index()] =
          first ? state[t_.index()] : combined(total_state[t_.index()], state[t_.index()]);
    }
    t_.sync();
  }

  LOCKSTEP_DEVICE void write_totals() {
    const float* totals = floats(memory_.totals(), kRunHeads * head_dim_);
    const SoftmaxState* total_state = states(memory_.total_states());
    for (int i = t_.index(); i < run_.queries * head_dim_; i += t_.count()) {
      const float value = totals[i] / total_state[i / head_dim_].sum * args_.cache.value_scale;
      t_.store(args_.out + output_at(0) + i, float_to_bf16(value));
    }
  }

 private:
  LOCKSTEP_DEVICE float* floats(std::int64_t offset, std::int64_t count) {
    return t_.template shared<float>(offset, count);
  }
  LOCKSTEP_DEVICE SoftmaxState* states(std::int64_t offset) {
    return t_.template shared<SoftmaxState>(offset, kRunHeads);
  }
  LOCKSTEP_DEVICE std::int64_t* positions() {
    return t_.template shared<std::int64_t>(memory_.positions(), kChunkPositions);
  }
  // Where a query head of the run begins in q and in out.
  LOCKSTEP_DEVICE std::int64_t output_at(int head) const {
    return (std::int64_t{row_} * args_.query_heads + run_.first_query + head) * head_dim_;
  }

  // Where the keys and values of the chunk's positions begin.
  LOCKSTEP_DEVICE void find_positions(std::int32_t begin, int count) {
    if (t_.index() >= count) return;
    const std::int32_t position = begin + t_.index();
    const std::int32_t size = args_.cache.block_size;
    const std::int32_t block =
        t_.load(args_.tables.blocks + place_.sequence * args_.tables.stride + position / size);
    positions()[t_.index()] = args_.cache.at(block, run_.head, position % size);
  }

  // Four lanes a position, eight positions a warp at a time.
  LOCKSTEP_DEVICE void score(int count) {
    const float* queries = floats(memory_.queries(), kRunHeads * head_dim_);
    float* scores = floats(memory_.scores(), kRunHeads * kChunkPositions);
    const float scale = args_.scale * args_.cache.key_scale;
    for (int first = 8 * t_.warp(); first < count; first += 8 * (t_.count() / kWarp)) {
      const int i = first + t_.lane() / 4;
      float dots[kRunHeads] = {};
      if (i < count) {
        const std::int64_t key = positions()[i];
        for (int d = 8 * (t_.lane() % 4); d < head_dim_; d += 32) {
          float numbers[8];
          load_cached<format>(t_, args_.cache.keys, key + d, numbers);
          for (int head = 0; head < kRunHeads; ++head) {
            for (int j = 0; j < 8; ++j) {
              dots[head] = fmaf(queries[head * head_dim_ + d + j], numbers[j], dots[head]);
            }
          }
        }
      }
      for (int head = 0; head < kRunHeads; ++head) {
        float dot = dots[head];
        dot += t_.shuffle_xor(dot, 1);
        dot += t_.shuffle_xor(dot, 2);
        if (i < count && t_.lane() % 4 == 0) scores[head * kChunkPositions + i] = dot * scale;
      }
    }
  }

  // A warp a head: scores become weights.
  LOCKSTEP_DEVICE void weigh(int count) {
    if (t_.warp() >= kRunHeads) return;
    float* scores =
        floats(memory_.scores(), kRunHeads * kChunkPositions) + t_.warp() * kChunkPositions;
    float largest = scores[0];
    for (int i = t_.lane(); i < count; i += kWarp) largest = fmaxf(largest, scores[i]);
    largest = warp_max(t_, largest);
    t_.sync_warp();  // all lanes have read the first score before it is overwritten
    float sum = 0.0f;
    for (int i = t_.lane(); i < count; i += kWarp) {
      const float weight = exp_nonpositive(scores[i] - largest);
      scores[i] = weight;
      sum += weight;
    }
    sum = warp_sum(t_, sum);
    if (t_.lane() == 0) states(memory_.states())[t_.warp()] = {largest, sum};
  }

  // A thread takes eight columns of every value of a subset of the positions: i, i + subsets, ...
  LOCKSTEP_DEVICE void sum_values(int count) {
    const int subsets = memory_.subsets();
    const int subset = t_.index() / (head_dim_ / 8);
    const int d = t_.index() % (head_dim_ / 8) * 8;
    if (subset >= subsets) return;
    const float* weights = floats(memory_.scores(), kRunHeads * kChunkPositions);
    float sums[kRunHeads][8] = {};
    for (int i = subset; i < count; i += subsets) {
      float numbers[8];
      load_cached<format>(t_, args_.cache.values, positions()[i] + d, numbers);
      for (int head = 0; head < kRunHeads; ++head) {
        const float weight = weights[head * kChunkPositions + i];
        for (int j = 0; j < 8; ++j) sums[head][j] = fmaf(weight, numbers[j], sums[head][j]);
      }
    }
    float* out = floats(memory_.subset_outputs(), subsets * kRunHeads * head_dim_) +
                 subset * kRunHeads * head_dim_ + d;
    for (int head = 0; head < kRunHeads; ++head) {
      for (int j = 0; j < 8; ++j) out[head * head_dim_ + j] = sums[head][j];
    }
  }

  LOCKSTEP_DEVICE void sum_subsets() {
    const int subsets = memory_.subsets();
    const int size = kRunHeads * head_dim_;
    const float* subset = floats(memory_.subset_outputs(), subsets * size);
    float* outputs = floats(memory_.outputs(), size);
    for (int i = t_.index(); i < size; i += t_.count()) {
      float sum = subset[i];
      for (int s = 1; s < subsets; ++s) sum += subset[s * size + i];
      outputs[i] = sum;
    }
  }

  Thread& t_;
  const AttentionArgs& args_;
  const AttentionMemory memory_;
  const std::int32_t row_;
  const HeadRun run_;
  const RowPlace place_;
  const std::int32_t head_dim_;
};

// A block for each row and run of heads, in y also for each chunk where there are parts.
template <CacheFormat format, class Thread>
LOCKSTEP_DEVICE void attention(Thread& t, const AttentionArgs& args) {
  RowAttention<format, Thread> row(t, args);
  if (args.parts != nullptr) {
    if (t.block_y() >= row.chunks()) return;
    row.load_queries();
    row.attend(t.block_y());
    row.write_part(t.block_y());
    return;
  }
  row.load_queries();
  for (std::int32_t chunk = 0; chunk < row.chunks(); ++chunk) {
    row.attend(chunk);
    row.add_to_totals(chunk == 0);
  }
  row.write_totals();
}

// Combines the parts of every row, a number a thread.
template <class Thread>
LOCKSTEP_DEVICE void combine_parts(Thread& t, const AttentionArgs& args) {
  const std::int32_t head_dim = args.cache.head_dim;
  const std::int32_t i = t.block_y() * t.count() + t.index();
  if (i >= args.query_heads * head_dim) return;
  const std::int64_t row = t.block_x();
  const std::int64_t stride = args.query_heads * part_stride(head_dim);
  const float* part =
      args.parts + row * args.chunks * stride + i / head_dim * part_stride(head_dim);
  const std::int32_t chunks = chunks_up_to(t.load(args.places + row).position);
  float total = 0.0f;
  SoftmaxState state{};
  for (std::int32_t chunk = 0; chunk < chunks; ++chunk, part += stride) {
    const float value = t.load(part + i % head_dim);
    const SoftmaxState of_value{t.load(part + head_dim), t.load(part + head_dim + 1)};
    total = chunk == 0 ? value : combined(total, state, value, of_value);
    state = chunk == 0 ? of_value : combined(state, of_value);
  }
  t.store(args.out + row * args.query_heads * head_dim + i,
          float_to_bf16(total / state.sum * args.cache.value_scale));
}

}  // namespace lockstep::kernels::cuda
