// One layer's attention of a batch on one rank, shared out over the rank's threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/thread_pool.h"
#include "model/config.h"
#include "shard/activations.h"
#include "shard/kv_cache.h"
#include "shard/model_runner.h"
#include "shard/partition.h"

namespace lockstep::shard {

// How the work is cut follows from the batch and the number of threads, and has no part in the
// result: a query's sums have one order (kernels/cpu/attention_body.h).
class Attention {
 public:
  // `part`, `pool` and `kernels` must outlive it.
  Attention(const model::ModelConfig& config, const Partition& part, std::int32_t max_positions,
            kernels::ThreadPool& pool, const kernels::cpu::KernelTable& kernels);

  // Memory that it takes on `threads` threads, and what this one has.
  static std::size_t bytes(const model::ModelConfig& config, const Partition& part,
                           std::int32_t max_positions, std::int64_t threads);
  std::size_t bytes() const { return scratch_.size() + parts_.size(); }

  // Lists the work of a step; its layers all have the same.
  void lay_out(std::span<const ForwardSequence> batch);

  // attended = the attention of every query in the batch that was laid out, also in the rounded
  // forms `forms`. Queries are the first columns of `queries`.
  void run(std::span<const ForwardSequence> batch, KvCache& cache, std::int64_t layer,
           const Activations& queries, Activations& attended, RoundedForms forms);

 private:
  // Query rows of one sequence and query heads that share one key-value head.
  struct Item {
    std::int32_t sequence;
    std::int32_t key_value_head;  // of this rank
    Range query_heads;            // of this rank
    std::int32_t first_row;       // of the batch
    std::int32_t first_position;
    std::int32_t rows;
    std::int64_t first_part = 0;  // of one that is computed in pieces: in parts_
  };
  // How the work of a step is cut.
  struct Cuts {
    std::int32_t rows;  // of an item, at most
    bool heads_apart;   // an item has one query head
    bool chunks_apart;  // items of few rows with several chunks are computed in pieces
  };
  // A chunk of an item.
  struct Piece {
    std::int32_t item;
    std::int32_t chunk;
  };

  Cuts cuts_for(std::span<const ForwardSequence> batch) const;
  void lay_out_sequence(std::int32_t sequence, std::int32_t first_row, std::int32_t rows,
                        std::int32_t first_position, const Cuts& cuts);
  float* parts_of(const Item& item) { return parts_.as<float>() + item.first_part * part_floats_; }
  // work(thread, i) for every i below count; threads take the next as they become free.
  template <class Work>
  void share_out(std::size_t count, const Work& work);

  const model::ModelConfig& config_;
  const Partition& part_;
  kernels::ThreadPool& pool_;
  const kernels::cpu::KernelTable& kernels_;
  const std::int32_t max_queries_;     // query heads of a key-value head
  const std::int64_t scratch_floats_;  // of a thread
  const std::int64_t part_floats_;     // of a row of a piece of as many query heads
  const std::int64_t max_parts_;       // rows of pieces for which parts_ has room
  std::int64_t num_rows_ = 0;          // of the batch
  std::int64_t num_parts_ = 0;         // rows of pieces
  std::vector<Item> items_;            // computed whole
  std::vector<Item> long_items_;       // computed in pieces, one a chunk
  std::vector<Piece> pieces_;
  kernels::AlignedBuffer scratch_;
  kernels::AlignedBuffer parts_;
};

}  // namespace lockstep::shard
