#include "kernels/cuda/attention_backend.h"

#include "base/error.h"
#include "kernels/cuda/fa3_attention.h"
#include "kernels/cuda/flashinfer_plan.h"

namespace lockstep::kernels::cuda {
namespace {

// Why FlashInfer cannot serve a model at any number of ranks; empty if it can.
std::string why_not_flashinfer(const AttentionNeeds& needs) {
  if (!needs.flashinfer_built_in) return "this build has no FlashInfer";
  if (needs.head_dim != 64 && needs.head_dim != 128) {
    return "FlashInfer is built for a head_dim of 64 and 128, not " +
           std::to_string(needs.head_dim);
  }
  if (needs.model_group > kShortTile) {
    return std::to_string(needs.model_group) +
           " query heads per key-value head are more than the " + std::to_string(kShortTile) +
           " of FlashInfer's short tiles";
  }
  return "";
}

std::string why_not_fa3(const AttentionNeeds& needs) {
  if (!needs.fa3_there) return "it needs a Hopper GPU, and a build with FlashInfer for sm_90a";
  if (needs.head_dim != kFa3HeadDim) {
    return "it is built for a head_dim of " + std::to_string(kFa3HeadDim) + ", not " +
           std::to_string(needs.head_dim);
  }
  if (needs.format != CacheFormat::bf16) return "it reads a cache in bf16 alone";
  // Its mask is a raw score of -50000 (docs/decisions.md), and Qwen2's are known to be beyond.
  if (needs.biases)
    return "it masks with a number that scores of biased queries and keys may reach";
  return "";
}

// Throws Error where key-value heads of a rank have different numbers of query heads.
void require_common_group(const char* kernel, const AttentionNeeds& needs) {
  if (needs.group > 0) return;
  throw Error(std::string("attention by ") + kernel +
              ": at this number of ranks key-value heads have different numbers of query heads. "
              "Choose the own kernel (--attention-backend own), at every number of ranks if "
              "answers are to be the same, or a number of ranks that divides the " +
              std::to_string(needs.key_value_heads) + " key-value heads");
}

std::string shape_text(const AttentionNeeds& needs) {
  return "head_dim " + std::to_string(needs.head_dim) + ", " + std::to_string(needs.group) +
         " query heads per key-value head, cache in " +
         (needs.format == CacheFormat::bf16 ? "bf16" : "e4m3");
}

}  // namespace

AttentionBackend attention_backend_of(std::string_view name) {
  if (name == "auto") return AttentionBackend::automatic;
  if (name == "flashinfer") return AttentionBackend::flashinfer;
  if (name == "own") return AttentionBackend::own;
  if (name == "fa3") return AttentionBackend::fa3;
  throw Error("attention backend '" + std::string(name) + "': it is auto, flashinfer, own or fa3");
}

AttentionChoice choose_attention(AttentionBackend asked, const AttentionNeeds& needs) {
  if (asked == AttentionBackend::own) {
    return {AttentionBackend::own, "attention: own kernel, as asked for"};
  }
  if (asked == AttentionBackend::fa3) {
    const std::string obstacle = why_not_fa3(needs);
    if (!obstacle.empty()) throw Error("attention backend fa3: " + obstacle);
    require_common_group("FA3", needs);
    return {AttentionBackend::fa3, "attention: FA3, as asked for, " + shape_text(needs)};
  }
  std::string reason = why_not_flashinfer(needs);
  if (asked == AttentionBackend::flashinfer && !reason.empty()) {
    throw Error("attention backend flashinfer: " + reason);
  }
  if (asked == AttentionBackend::automatic && reason.empty() && needs.key_value_heads % 8 != 0) {
    reason = std::to_string(needs.key_value_heads) +
             " key-value heads do not spread evenly over 2, 4 and 8 ranks, and the number of ranks "
             "must not choose the kernel";
  }
  if (!reason.empty()) return {AttentionBackend::own, "attention: own kernel, for " + reason};
  require_common_group("FlashInfer", needs);
  return {AttentionBackend::flashinfer, "attention: FlashInfer, " + shape_text(needs)};
}

std::int32_t common_group(std::span<const std::int32_t> first_query) {
  if (first_query.size() < 2) return 0;
  const std::int32_t group = first_query[1] - first_query[0];
  for (std::size_t head = 1; head + 1 < first_query.size(); ++head) {
    if (first_query[head + 1] - first_query[head] != group) return 0;
  }
  return group;
}

}  // namespace lockstep::kernels::cuda
