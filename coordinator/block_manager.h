// Who owns which block of the paged KV cache.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::coordinator {

// Hands out blocks 0 .. num_blocks-1 of block_size tokens each.
//
// Invariants:
//  1. A block is free (references 0) or has owners (references > 0); never both.
//  2. num_free() + num_used() == num_blocks().
//  3. A block leaves allocate() with exactly one reference. References rather than a flag, so that
//     a prefix cache can let several sequences own the same full block.
class BlockManager {
 public:
  // Throws Error unless num_blocks > 0 and block_size is a positive multiple of 16 (attention walks
  // the cache in tiles of 16 tokens).
  BlockManager(std::int32_t num_blocks, std::int32_t block_size);

  // Blocks that hold `num_tokens` tokens.
  std::int32_t blocks_for(std::int64_t num_tokens) const {
    return static_cast<std::int32_t>((num_tokens + block_size_ - 1) / block_size_);
  }

  // Appends `count` blocks to `table`. False, and nothing changed, when fewer are free.
  bool allocate(std::int32_t count, std::vector<std::int32_t>& table);

  // Drops one reference to every block of `table` and empties it. Throws Error on a block that is
  // free already or does not exist.
  void release(std::vector<std::int32_t>& table);

  std::int32_t num_blocks() const { return static_cast<std::int32_t>(references_.size()); }
  std::int32_t num_free() const { return static_cast<std::int32_t>(free_.size()); }
  std::int32_t num_used() const { return num_blocks() - num_free(); }
  std::int32_t block_size() const { return block_size_; }

 private:
  std::int32_t block_size_;
  std::vector<std::int32_t> references_;  // [num_blocks]
  std::vector<std::int32_t> free_;  // a stack: what was used last is still in the CPU's caches
};

}  // namespace lockstep::coordinator
