// Keys and values of one layer in blocks of positions, in device memory.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cuda {

enum class CacheFormat { bf16, e4m3 };

// Arrays [blocks, heads, block_size, head_dim] of numbers of one format: what FlashInfer calls HND.
struct PagedCache {
  void* keys;
  void* values;
  CacheFormat format;
  std::int32_t heads;       // key-value heads of this rank
  std::int32_t block_size;  // positions
  std::int32_t head_dim;    // a multiple of 32
  // e4m3: a key is key_scale times the number that is stored, a value value_scale times.
  float key_scale = 1.0f;
  float value_scale = 1.0f;

  // Where `head` of a position begins: an index of keys and of values.
  constexpr std::int64_t at(std::int64_t block, std::int64_t head, std::int64_t slot) const {
    return ((block * heads + head) * block_size + slot) * head_dim;
  }
};

// The blocks of some sequences: block_table[sequence * stride + position / block_size].
struct BlockTables {
  const std::int32_t* blocks;
  std::int64_t stride;
};

// Whose and which position a row of a batch is.
struct RowPlace {
  std::int32_t sequence;
  std::int32_t position;
};

}  // namespace lockstep::kernels::cuda
