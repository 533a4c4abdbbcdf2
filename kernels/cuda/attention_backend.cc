#include "kernels/cuda/attention_backend.h"

#include "base/error.h"
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

}  // namespace

AttentionBackend attention_backend_of(std::string_view name) {
  if (name == "auto") return AttentionBackend::automatic;
  if (name == "flashinfer") return AttentionBackend::flashinfer;
  if (name == "own") return AttentionBackend::own;
  throw Error("attention backend '" + std::string(name) + "': it is auto, flashinfer or own");
}

AttentionChoice choose_attention(AttentionBackend asked, const AttentionNeeds& needs) {
  if (asked == AttentionBackend::own) {
    return {AttentionBackend::own, "attention: own kernel, as asked for"};
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
  if (needs.group == 0) {
    throw Error(
        "attention by FlashInfer: at this number of ranks key-value heads have different numbers "
        "of "
        "query heads. Choose the own kernel (--attention-backend own), at every number of ranks if "
        "answers are to be the same, or a number of ranks that divides the " +
        std::to_string(needs.key_value_heads) + " key-value heads");
  }
  return {AttentionBackend::flashinfer,
          "attention: FlashInfer, head_dim " + std::to_string(needs.head_dim) + ", " +
              std::to_string(needs.group) + " query heads per key-value head, cache in " +
              (needs.format == CacheFormat::bf16 ? "bf16" : "e4m3")};
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
