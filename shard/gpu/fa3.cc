#include "shard/gpu/fa3.h"

#include <algorithm>
#include <cmath>

namespace lockstep::shard {

using namespace kernels::cuda;

// Every sequence's rows are one run, of whose tiles the last may have fewer rows.
std::size_t Fa3Attention::upload_bytes(std::int32_t max_rows, std::int32_t max_sequences) {
  const auto whole = static_cast<std::int32_t>(max_rows / kFa3TileRows);
  const Fa3Layout largest(std::min(max_rows, whole + max_sequences));
  return StepUpload::whole_pieces(static_cast<std::size_t>(largest.bytes));
}

void Fa3Attention::plan(std::span<const RowPlace> places, bool decodes, const BlockTables& tables,
                        std::int32_t block_size, std::int32_t sequences, StepUpload& upload) {
  layout_.emplace(count_fa3_tiles(places, decodes));
  const auto plan = upload.add<std::byte>(layout_->bytes);
  plan_fa3(places, decodes, block_size, tables.stride, sequences, *layout_, plan.host);
  plan_ = plan.device;
  blocks_ = tables.blocks;
  rows_ = static_cast<std::int32_t>(places.size());
}

void Fa3Attention::run(const std::uint16_t* q, const PagedCache& cache, std::uint16_t* out) {
  gpu_.run(Fa3Args{.q = q,
                   .cache = cache,
                   .blocks = blocks_,
                   .plan = plan_,
                   .out = out,
                   .rows = rows_,
                   .query_heads = query_heads_,
                   .scale = 1.0f / std::sqrt(static_cast<float>(cache.head_dim))},
           *layout_);
}

}  // namespace lockstep::shard
