// One rank's weights, packed for the kernels.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/packed_matrix.h"
#include "kernels/thread_pool.h"
#include "model/model.h"
#include "shard/packing.h"
#include "shard/partition.h"

namespace lockstep::shard {

// Projections are [out_features, in_features]; only this rank's rows (q, k, v, gate, up) or columns
// (o, down) are there. Q and K rows are in Hugging Face's order.
struct LayerWeights {
  std::vector<float> input_norm;           // [hidden_size]
  std::vector<float> post_attention_norm;  // [hidden_size]
  std::vector<float> qkv_bias;             // [rows of qkv]; empty: none
  // [head_dim], for each head alike; empty: heads have no norms.
  std::vector<float> query_norm, key_norm;
  // Rows of q, then of k, then of v. One matrix, so that one product reads it in one go; where
  // types differ, several below one another.
  std::vector<kernels::PackedMatrix> qkv;
  kernels::PackedMatrix o, down;
  // 32 rows of gate, then 32 of up, and so on; gate alone, with up beside it, where their types
  // differ.
  kernels::PackedMatrix gate_up;
  kernels::PackedMatrix up;

  const kernels::PackedMatrix& up_rows() const { return up.rows() > 0 ? up : gate_up; }
};

struct Weights {
  std::unique_ptr<kernels::Arena> arena;  // where all matrices lie
  // [this rank's vocabulary rows, hidden_size]; empty where the rank neither embeds nor, the head
  // being tied to it, makes logits.
  kernels::PackedMatrix embedding;
  kernels::PackedMatrix head;  // the same shape; empty when tied to the embedding, or without head
  std::vector<float> final_norm;     // [hidden_size]; empty without head
  std::vector<LayerWeights> layers;  // of this rank's pipeline stage

  const kernels::PackedMatrix& output() const { return head.rows() > 0 ? head : embedding; }
  std::size_t bytes() const;  // resident, this rank
};

// Reads this rank's part of a model and lets go of the mapped file's pages. Throws
// Error naming the tensor that is missing, has another shape or a type that does not suit, or is
// e4m3 with a NaN.
// `packing`: in which layout. `cache_directory`: where packed weights are kept from one life to the
// next (weight_cache.h); "": nowhere.
Weights load_weights(const model::Model& model, const Partition& part, kernels::ThreadPool& pool,
                     const Packing& packing = {}, const std::string& cache_directory = "");

}  // namespace lockstep::shard
