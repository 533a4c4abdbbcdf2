// Which kernel attends on a GPU: the own one (attention.h) or FlashInfer's
// (flashinfer_attention.h). Their bits differ: all ranks of a replica take the same one, for
// prompts and for decoding, and a response's system_fingerprint has to name it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

// What `--attention-backend` asks for.
enum class AttentionBackend { automatic, flashinfer, own };

// "auto", "flashinfer" or "own". Throws Error naming these for anything else.
AttentionBackend attention_backend_of(std::string_view name);

struct AttentionNeeds {
  std::int32_t head_dim;
  CacheFormat format;
  // Query heads of every key-value head of every rank; 0 where they differ (common_group()).
  std::int32_t group;
  bool flashinfer_built_in;
};

struct AttentionChoice {
  AttentionBackend backend;  // flashinfer or own
  std::string reason;        // a sentence for the log, or for the error of who asked for the other
};

// `automatic` takes FlashInfer where it serves the model. Asked for `flashinfer`, the answer is
// `own` where FlashInfer cannot: the caller makes an error of the reason.
AttentionChoice choose_attention(AttentionBackend asked, const AttentionNeeds& needs);

// Query heads per key-value head of a rank whose key-value head i has the query heads
// [first_query[i], first_query[i + 1]); 0 if they differ, or if it has none. Ranks must agree: a
// replica gives choose_attention() 0 where theirs differ.
std::int32_t common_group(std::span<const std::int32_t> first_query);

}  // namespace lockstep::kernels::cuda
