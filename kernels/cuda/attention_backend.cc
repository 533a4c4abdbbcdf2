#include "kernels/cuda/attention_backend.h"

#include "base/error.h"
#include "kernels/cuda/flashinfer_plan.h"

namespace lockstep::kernels::cuda {
namespace {

// Why FlashInfer cannot serve a model; empty if it can.
std::string why_not_flashinfer(const AttentionNeeds& needs) {
  if (!needs.flashinfer_built_in) return "this build has no FlashInfer";
  if (needs.head_dim != 64 && needs.head_dim != 128) {
    return "FlashInfer is built for a head_dim of 64 and 128, not " +
           std::to_string(needs.head_dim);
  }
  if (needs.group == 0) {
    return "with FlashInfer all key-value heads of all ranks have the same number of query heads, "
           "and here they differ";
  }
  if (needs.group > kShortTile) {
    return std::to_string(needs.group) + " query heads per key-value head are more than the " +
           std::to_string(kShortTile) + " of FlashInfer's short tiles";
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
  if (const std::string reason = why_not_flashinfer(needs); !reason.empty()) {
    return {AttentionBackend::own, "attention: own kernel, for " + reason};
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
