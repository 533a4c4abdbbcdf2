// One rank's weights in the memory of its GPU.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cuda/gpu.h"
#include "model/model.h"
#include "shard/partition.h"

namespace lockstep::shard {

// A packed matrix (kernels/cuda/weight_tiles.h) that owns its memory. Empty: no rows. Plain: bf16,
// one row after the other, with rows of zeros up to a multiple of kPlainRows; `view` says its sizes
// all the same.
struct GpuMatrix {
  kernels::device::Allocation tiles, scales;
  kernels::cuda::WeightTiles view = {};
  bool plain = false;

  std::size_t bytes() const { return tiles.size() + scales.size(); }
};

// Norms: f32 [hidden_size], but those of heads [head_dim]. Projections are [out_features,
// in_features]; only this rank's rows (q, k, v, gate, up) or columns (o, down) are there. Q and K
// rows are in Hugging Face's order. q, k and v are one matrix where their formats are the same, as
// are gate and up: q's rows, then k's, then v's; gate's rows and up's by turns, kTurn each
// (kernels/cuda/product.h), or, plain, gate's rows, then up's.
struct GpuLayerWeights {
  kernels::device::Allocation input_norm, post_attention_norm;
  kernels::device::Allocation qkv_bias;              // f32 [rows of qkv]; empty: none
  kernels::device::Allocation query_norm, key_norm;  // empty: heads have none
  std::vector<GpuMatrix> qkv;                        // one matrix, or three
  std::vector<GpuMatrix> gate_up;                    // one, or two
  GpuMatrix o, down;

  // Whether gate's and up's product leaves what SwiGLU makes of them.
  bool activates() const { return gate_up.size() == 1 && !gate_up[0].plain; }
};

struct GpuWeights {
  // [this rank's vocabulary rows, hidden_size], bf16; empty where the rank neither embeds nor, the
  // head being tied to it, makes logits.
  GpuMatrix embedding;
  GpuMatrix head;                          // empty when tied to the embedding, or without head
  kernels::device::Allocation final_norm;  // empty without head
  std::vector<GpuLayerWeights> layers;     // of this rank's pipeline stage

  const GpuMatrix& output() const { return head.view.rows > 0 ? head : embedding; }
  std::size_t bytes() const;  // on the device, this rank
};

struct GpuLoadOptions {
  bool fp8 = false;  // projections of bf16, f16 and f32 in e4m3 with a scale a row; e4m3 as it is
  // What is bf16 and summed over the whole width on every rank (qkv, gate and up, embedding and
  // head) in plain rows, for cublasLt.
  bool plain = false;
  int threads = 1;                       // that read and pack
  std::size_t staging_bytes = 64 << 20;  // of pinned memory, twice
};

// Reads this rank's part of a model (load_plan.h), and no more of the files than that
// (fp8: the whole rows of o and down, for their scales), packs it and uploads it through pinned
// memory of a bounded size while the next part is packed. Throws Error as require_gpu_serves()
// does (runner_sizes.h), before it reads anything; naming the tensor that is missing, has another
// shape or a type that has no tile format (weight_slab.h), or is e4m3 with a NaN; and, when there
// is no room, the pool's table of what took it.
GpuWeights load_gpu_weights(const model::Model& model, const Partition& part,
                            kernels::cuda::Gpu& gpu, const GpuLoadOptions& options = {});

}  // namespace lockstep::shard
