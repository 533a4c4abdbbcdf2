// Which parts of which tensors a rank keeps: worked out from the model's sizes alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "shard/partition.h"

namespace lockstep::shard {

// Rows and columns of a matrix [out_features, in_features]; rows in Hugging Face's order.
struct MatrixPart {
  std::string tensor;
  std::int64_t out_features, in_features;
  Range rows, columns;

  std::int64_t elements() const { return std::int64_t{rows.size()} * columns.size(); }
};

// Elements of a vector.
struct VectorPart {
  std::string tensor;
  std::int64_t size;
  Range range;
};

// What is packed as one lies one below the other.
struct LayerParts {
  VectorPart input_norm, post_attention_norm;
  std::vector<VectorPart> qkv_bias;                // empty: none
  std::optional<VectorPart> query_norm, key_norm;  // none: heads have no norms
  std::vector<MatrixPart> qkv, gate_up;
  MatrixPart o, down;
};

struct RankParts {
  std::optional<MatrixPart> embedding;  // none: the rank neither embeds nor has a head tied to it
  std::optional<MatrixPart> head;       // none: tied to the embedding, or no head
  std::optional<VectorPart> final_norm;
  std::vector<LayerParts> layers;  // of the rank's stage

  std::vector<MatrixPart> matrices() const;  // all of them
};

// Of a model of one of the families (model/family.h).
RankParts rank_parts(const model::ModelConfig& config, const Partition& part);

}  // namespace lockstep::shard
