#include "coordinator/block_manager.h"

#include <string>

#include "base/error.h"

namespace lockstep::coordinator {

BlockManager::BlockManager(std::int32_t num_blocks, std::int32_t block_size)
    : block_size_(block_size) {
  if (num_blocks <= 0) {
    throw Error("num_blocks is " + std::to_string(num_blocks) + ", must be at least 1");
  }
  if (block_size <= 0 || block_size % 16 != 0) {
    throw Error("block_size is " + std::to_string(block_size) + ", must be a multiple of 16");
  }
  references_.assign(num_blocks, 0);
  free_.reserve(num_blocks);
  for (std::int32_t block = num_blocks; block-- > 0;) free_.push_back(block);
}

bool BlockManager::allocate(std::int32_t count, std::vector<std::int32_t>& table) {
  if (count > num_free()) return false;
  for (; count > 0; --count) {
    const std::int32_t block = free_.back();
    free_.pop_back();
    references_[block] = 1;
    table.push_back(block);
  }
  return true;
}

void BlockManager::release(std::vector<std::int32_t>& table) {
  // The last block first, so that the next allocation gets them back in the same order.
  for (; !table.empty(); table.pop_back()) {
    const std::int32_t block = table.back();
    if (block < 0 || block >= num_blocks() || references_[block] == 0) {
      throw Error("KV block " + std::to_string(block) + " released without an owner");
    }
    if (--references_[block] == 0) free_.push_back(block);
  }
}

}  // namespace lockstep::coordinator
