// One rank's keys and values, in blocks of positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/kv_format.h"
#include "kernels/thread_pool.h"
#include "model/config.h"
#include "shard/partition.h"

namespace lockstep::shard {

// In tiles of 16 positions (kernels/kv_format.h). In each layer, a head's keys of all blocks follow
// each other, then its values: a sequence's blocks are often neighbours, and memory streams through
// neighbours two to three times as fast as through scattered pages. Which block belongs to whom is
// the coordinator's affair.
class KvCache {
 public:
  // Memory is the system's to give when it is first written, and a huge page takes it a while: the
  // first of each head's is written to now, on all threads, or the first request would wait for
  // them. REQUIRES: block_size % 16 == 0.
  KvCache(const model::ModelConfig& config, const Partition& part, kernels::KvFormat format,
          std::int32_t block_size, std::int32_t num_blocks, kernels::ThreadPool& pool);

  // Bytes that one block takes on a rank with this part, all of its layers together.
  static std::size_t block_bytes(const model::ModelConfig& config, const Partition& part,
                                 kernels::KvFormat format, std::int32_t block_size);

  kernels::KvFormat format() const { return format_; }
  std::int32_t block_size() const { return block_size_; }
  std::int32_t num_blocks() const { return num_blocks_; }

  // Bytes from one block to the next, and from a block's keys to its values.
  std::int64_t block_stride() const { return half_block_; }
  std::int64_t value_offset() const { return num_blocks_ * half_block_; }

  // Keys of block 0 of this rank's key-value head `head` in the rank's layer `layer`, from 0.
  std::byte* keys(std::int64_t layer, std::int64_t head) {
    return layers_[static_cast<std::size_t>(layer)].as<std::byte>() + 2 * head * value_offset();
  }

 private:
  kernels::KvFormat format_;
  std::int32_t block_size_;
  std::int32_t num_blocks_;
  std::int64_t half_block_;  // bytes of one head's keys in a block
  std::vector<kernels::AlignedBuffer> layers_;
};

}  // namespace lockstep::shard
