#include "shard/kv_cache.h"

#include <string>

#include "base/error.h"

namespace lockstep::shard {

KvCache::KvCache(const model::ModelConfig& config, const Partition& part, std::int32_t block_size,
                 std::int32_t num_blocks)
    : block_size_(block_size),
      num_blocks_(num_blocks),
      heads_(part.key_value_heads.size()),
      half_block_(block_size * config.head_dim) {
  if (block_size < 16 || block_size % 16 != 0) {
    throw Error("block_size is " + std::to_string(block_size) + ": it must be a multiple of 16");
  }
  const auto bytes = static_cast<std::size_t>(2 * heads_ * value_offset()) * sizeof(std::uint16_t);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    layers_.emplace_back(bytes);
  }
}

std::size_t KvCache::block_bytes(const model::ModelConfig& config, const Partition& part,
                                 std::int32_t block_size) {
  return static_cast<std::size_t>(2 * config.num_hidden_layers * part.key_value_heads.size() *
                                  block_size * config.head_dim) *
         sizeof(std::uint16_t);
}

}  // namespace lockstep::shard
