#include "shard/kv_cache.h"

#include <string>

#include "base/error.h"

namespace lockstep::shard {
namespace {

std::int64_t half_block_bytes(const model::ModelConfig& config, kernels::KvFormat format,
                              std::int32_t block_size) {
  return block_size / kernels::kKvTile * kernels::kv_tile_bytes(format, config.head_dim);
}

}  // namespace

KvCache::KvCache(const model::ModelConfig& config, const Partition& part, kernels::KvFormat format,
                 std::int32_t block_size, std::int32_t num_blocks, kernels::ThreadPool& pool)
    : format_(format),
      block_size_(block_size),
      num_blocks_(num_blocks),
      half_block_(half_block_bytes(config, format, block_size)) {
  if (block_size < kernels::kKvTile || block_size % kernels::kKvTile != 0) {
    throw Error("block_size is " + std::to_string(block_size) + ": it must be a multiple of 16");
  }
  const auto bytes = static_cast<std::size_t>(2 * part.key_value_heads.size() * value_offset());
  for (std::int32_t layer = 0; layer < part.layers.size(); ++layer) layers_.emplace_back(bytes);
  const std::ptrdiff_t heads = part.key_value_heads.size();
  pool.for_ranges(num_blocks > 0 ? part.layers.size() * heads : 0,
                  [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
                    for (std::ptrdiff_t i = begin; i < end; ++i) {
                      std::byte* first = keys(i / heads, i % heads);
                      for (std::byte* half : {first, first + value_offset()}) *half = std::byte{0};
                    }
                  });
}

std::size_t KvCache::block_bytes(const model::ModelConfig& config, const Partition& part,
                                 kernels::KvFormat format, std::int32_t block_size) {
  return static_cast<std::size_t>(2 * part.layers.size() * part.key_value_heads.size() *
                                  half_block_bytes(config, format, block_size));
}

}  // namespace lockstep::shard
