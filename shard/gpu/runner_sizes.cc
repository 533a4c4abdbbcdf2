#include "shard/gpu/runner_sizes.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/plain_products.h"
#include "kernels/cuda/rope_kv.h"
#include "kernels/scored_token.h"
#include "shard/gpu/fa3.h"
#include "shard/gpu/step_upload.h"
#include "shard/lane_programs.h"

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

// Of the own attention's parts: where a step needs more, a block computes all chunks of a row.
constexpr std::int64_t kMostPartFloats = 64 << 20;

// How often a tree is cut for segments of one rank: of a product of few columns, whose sums are
// long, more blocks have work, and fewer sums wait in each. Between ranks they would have to
// travel.
constexpr int kCutsOfOneRank = 1;

// The runs of lanes of every rank, each of which leaves a sum or, where it must, several.
using RankRuns = std::vector<std::vector<Range>>;
RankRuns runs_of(const LaneTree& tree, const std::vector<Partition>& parts,
                 Range Partition::*lanes) {
  if (parts.size() == 1) return {tree.pieces(kCutsOfOneRank)};
  RankRuns runs;
  for (const Partition& part : parts) runs.push_back({part.*lanes});
  return runs;
}

void require_common_group(const model::ModelConfig& config, int ranks) {
  if (common_group(config, ranks) > 0) return;
  throw Error("FlashInfer with key-value heads of unequal numbers of query heads");
}

FlashInferAttention::Sizes flashinfer_sizes(const model::ModelConfig& config, int ranks,
                                            std::int32_t query_heads,
                                            const GpuRunnerOptions& options) {
  return {.group = common_group(config, ranks),
          .query_heads = query_heads,
          .head_dim = static_cast<std::int32_t>(config.head_dim),
          .block_size = options.block_size,
          .max_rows = options.max_batch_tokens,
          .max_sequences = options.max_sequences,
          .max_positions = options.max_positions};
}

std::int64_t own_attention_chunks(const model::ModelConfig& config, std::int32_t query_heads,
                                  const GpuRunnerOptions& options) {
  const std::int64_t largest =
      attention_part_floats(std::min(options.max_sequences, options.max_batch_tokens),
                            2 * chunks_up_to(std::max(options.max_positions, 1) - 1), query_heads,
                            static_cast<std::int32_t>(config.head_dim));
  return std::min(kMostPartFloats, largest);
}

// What the pieces of the largest step take, but for what attention adds.
std::size_t upload_bytes(const GpuRunnerOptions& options) {
  const auto tokens = static_cast<std::size_t>(options.max_batch_tokens);
  const auto sequences = static_cast<std::size_t>(options.max_sequences);
  // The number of chunks is rounded up to a power of two.
  const std::int64_t positions = std::bit_ceil(static_cast<std::uint32_t>(
                                     chunks_up_to(std::max(options.max_positions, 1) - 1))) *
                                 std::int64_t{kChunkPositions};
  const auto blocks = static_cast<std::size_t>(divide_up(positions, options.block_size));
  return StepUpload::whole_pieces(tokens * sizeof(std::int32_t)) +
         StepUpload::whole_pieces(tokens * sizeof(RowPlace)) +
         StepUpload::whole_pieces((sequences + kPaddingStep) * blocks * sizeof(std::int32_t)) +
         StepUpload::whole_pieces(sequences * sizeof(std::int32_t)) +
         StepUpload::whole_pieces(options.sampling_bytes);
}

std::size_t bytes_of(const HostSumPlan& plan) {
  return plan.leaves.size() * sizeof(Leaf) + plan.additions.size() * sizeof(Addition) +
         (plan.lanes.size() + plan.level_ends.size() + plan.segments.size()) * sizeof(std::int32_t);
}

}  // namespace

std::vector<std::int32_t> first_queries(const model::ModelConfig& config, const Partition& part) {
  std::vector<std::int32_t> first;
  for (std::int32_t kv = part.key_value_heads.begin; kv < part.key_value_heads.end; ++kv) {
    first.push_back(part.queries_of(kv, config).begin - part.query_heads.begin);
  }
  first.push_back(part.query_heads.size());
  return first;
}

void require_gpu_serves(const model::ModelConfig& config) {
  if (!config.head_norms || can_norm_heads(static_cast<std::int32_t>(config.head_dim))) return;
  throw Error("head_dim is " + std::to_string(config.head_dim) +
              ": on GPUs heads with norms have 8, 16, 32, 64, 128 or 256 columns");
}

std::int32_t common_group(const model::ModelConfig& config, int world_size) {
  std::int32_t common = -1;
  for (const Partition& part : partition_model(config, world_size)) {
    const std::int32_t group = kernels::cuda::common_group(first_queries(config, part));
    if (common >= 0 && group != common) return 0;
    common = group;
  }
  return common;
}

std::vector<VocabRange> vocab_ranges(const std::vector<Partition>& parts) {
  std::vector<VocabRange> ranges;
  for (const Partition& part : parts) {
    ranges.push_back({part.vocabulary.begin, part.vocabulary.end});
  }
  return ranges;
}

std::size_t gpu_kv_block_bytes(const model::ModelConfig& config, const Partition& part,
                               CacheFormat format, std::int32_t block_size) {
  const std::int64_t number = format == CacheFormat::bf16 ? 2 : 1;
  return static_cast<std::size_t>(2 * part.layers.size() * number * part.key_value_heads.size() *
                                  block_size * config.head_dim);
}

GpuRunnerSizes::GpuRunnerSizes(const model::ModelConfig& config,
                               const std::vector<Partition>& parts, int rank_of,
                               const GpuRunnerOptions& options, bool gates_apart)
    : rank(rank_of) {
  require_gpu_serves(config);
  const LaneTrees lanes = lane_trees(config);
  const RankRuns attention = runs_of(lanes.attention, parts, &Partition::query_heads);
  const RankRuns mlp = runs_of(lanes.mlp, parts, &Partition::mlp_lanes);
  trees = {one_segment_each(static_cast<int>(parts.size())),
           segment_tree(lanes.attention, attention), segment_tree(lanes.mlp, mlp)};
  const Partition& part = parts[static_cast<std::size_t>(rank)];
  const std::int64_t tokens = options.max_batch_tokens, width = config.hidden_size;
  const std::int64_t granules = whole_granules(options.max_batch_tokens);
  const std::int64_t logit_rows =
      part.has_head(config) ? whole_granules(options.max_sequences) : std::int64_t{0};
  query_columns = part.query_heads.size() * config.head_dim;
  kv_columns = part.key_value_heads.size() * config.head_dim;
  inner_columns = shard::inner_columns(config, part);
  logits_stride = divide_up(part.vocabulary.size(), kPlainRows) * kPlainRows;
  reduce = {tokens, width, options.gather_below};
  hidden_plan = make_sum_plan(kernels::whole_sum(width));
  attention_plan =
      make_sum_plan(attention_program(config, attention[static_cast<std::size_t>(rank)]));
  mlp_plan = make_sum_plan(mlp_program(config, mlp[static_cast<std::size_t>(rank)]));
  runs = head_runs(first_queries(config, part));
  if (options.attention != AttentionBackend::own) {
    require_common_group(config, static_cast<int>(parts.size()));
  }
  if (options.attention == AttentionBackend::flashinfer) {
    flashinfer =
        flashinfer_sizes(config, static_cast<int>(parts.size()), part.query_heads.size(), options);
  }
  hidden = tokens * width;
  normed = granules * width;
  qkv = granules * (query_columns + 2 * kv_columns);
  queries = attended = tokens * query_columns;
  attention_chunks = options.attention == AttentionBackend::own
                         ? own_attention_chunks(config, part.query_heads.size(), options)
                         : 0;
  gate_up = gates_apart ? granules * 2 * inner_columns : 0;
  inner = tokens * inner_columns;
  last = logit_rows * width;
  logits = logit_rows * logits_stride;
  sampled = part.has_head(config) ? options.max_sequences : 0;
  downloaded = part.has_head(config) ? options.max_sequences * logits_stride : 0;
  angles = options.max_positions * (config.head_dim / 2);
  upload = upload_bytes(options);
  if (flashinfer) upload += FlashInferAttention::upload_bytes(*flashinfer);
  if (options.attention == AttentionBackend::fa3) {
    upload += Fa3Attention::upload_bytes(options.max_batch_tokens, options.max_sequences);
  }
  stage_values = tokens * width;
}

std::size_t GpuRunnerSizes::device_bytes(const comm::ExchangeMemory& exchange) const {
  const std::int64_t floats = hidden + qkv + attention_chunks + gate_up + logits + 2 * angles;
  const std::int64_t halves = normed + queries + attended + inner + last;
  return GpuLaneReducer::device_bytes(trees, rank, reduce, exchange) +
         static_cast<std::size_t>(floats) * sizeof(float) +
         static_cast<std::size_t>(halves) * sizeof(std::uint16_t) +
         static_cast<std::size_t>(sampled) * sizeof(kernels::ScoredToken) + bytes_of(hidden_plan) +
         bytes_of(attention_plan) + bytes_of(mlp_plan) + runs.size() * sizeof(HeadRun) +
         (flashinfer ? FlashInferAttention::device_bytes(*flashinfer) : 0) +
         StepUpload::device_bytes(upload);
}

}  // namespace lockstep::shard
