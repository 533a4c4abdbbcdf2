// Which kernel attends on a GPU: the own one (attention.h), FlashInfer's (flashinfer_attention.h)
// or its FA3 for Hopper (fa3_attention.h). Their bits differ: all ranks of a replica take the same
// one, for prompts and for decoding, the number of ranks has no say in which, and a response's
// system_fingerprint names it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

// What `--attention-backend` asks for.
enum class AttentionBackend { automatic, flashinfer, own, fa3 };

// "auto", "flashinfer", "own" or "fa3". Throws Error naming these for anything else.
AttentionBackend attention_backend_of(std::string_view name);

struct AttentionNeeds {
  std::int32_t head_dim;
  std::int32_t key_value_heads;  // of the model
  std::int32_t model_group;      // query heads per key-value head of the model
  CacheFormat format;
  // Query heads of every key-value head of every rank; 0 where they differ (common_group()).
  std::int32_t group;
  bool flashinfer_built_in;
  bool fa3_there = false;  // the build has it, and the GPU is a Hopper
  bool biases = false;     // queries and keys have biases
};

struct AttentionChoice {
  AttentionBackend backend;  // never automatic
  std::string reason;        // a sentence for the log, or for the error of who asked for the other
};

// `automatic` takes FlashInfer where it serves the model, and the model's key-value heads spread
// evenly over 2, 4 and 8 ranks; FA3 only who asks for it. Throws Error where FlashInfer or FA3, so
// chosen or asked for, cannot serve this partition or this model: another kernel would give other
// bits at this number of ranks.
AttentionChoice choose_attention(AttentionBackend asked, const AttentionNeeds& needs);

// Query heads per key-value head of a rank whose key-value head i has the query heads
// [first_query[i], first_query[i + 1]); 0 if they differ, or if it has none. Ranks must agree: a
// replica gives choose_attention() 0 where theirs differ.
std::int32_t common_group(std::span<const std::int32_t> first_query);

}  // namespace lockstep::kernels::cuda
