#include "launch/replica_labels.h"

#include "kernels/dtype.h"
#include "launch/version.h"

namespace lockstep::launch {
namespace {

using kernels::cuda::AttentionBackend;

// "q4_1-q8_0": of the matrices of layers, and of the embedding.
std::string storage_types(const model::Model& model) {
  const auto type = [&](const char* name) {
    const auto* tensor = model.tensors->find(name);
    return tensor == nullptr ? "none" : std::string(kernels::name(tensor->dtype));
  };
  return type("model.layers.0.mlp.up_proj.weight") + "-" + type("model.embed_tokens.weight");
}

std::string attention_name(AttentionBackend backend) {
  if (backend == AttentionBackend::flashinfer) return "flashinfer";
  return backend == AttentionBackend::fa3 ? "fa3" : "own";
}

std::string activations_name(kernels::ActivationFormat format) {
  if (format == kernels::ActivationFormat::int8) return "int8";
  return format == kernels::ActivationFormat::bf16 ? "bf16" : "f32";
}

// `sums`: between ranks, how.
Labels common_labels(const RankPlace& place, const std::string& sums) {
  return {{"version", kVersion},
          {"tensor_parallel", std::to_string(place.stage_ranks.size)},
          {"pipeline_parallel", std::to_string(place.stage.count)},
          {"sums", place.stage_ranks.size > 1 ? sums : "none"}};
}

}  // namespace

std::string fingerprint(const model::Model& model, const ServeOptions& options,
                        kernels::CpuFamily family) {
  return "lockstep-" + std::string(kVersion) + "-cpu-" +
         (family == kernels::CpuFamily::amx ? "amx-" : "") + storage_types(model) + "-" +
         options.activations + (options.kv_cache_dtype == KvCacheType::int8 ? "-kv-int8" : "");
}

std::string fingerprint(const model::Model& model, const ServeOptions& options,
                        const GpuWays& ways) {
  return "lockstep-" + std::string(kVersion) + "-cuda-" + ways.architecture + "-" +
         storage_types(model) + (options.quantization == "fp8" ? "-fp8" : "") +
         (options.products == "cublaslt" ? "-cublaslt" : "") +
         (ways.attention == AttentionBackend::own ? "" : "-" + attention_name(ways.attention)) +
         (options.kv_cache_dtype == KvCacheType::fp8 ? "-kv-fp8" : "");
}

Labels replica_labels(const RankPlace& place, const CpuWays& ways) {
  Labels labels = common_labels(place, ways.sums_in_place ? "in_place" : "copied");
  labels.merge(Labels{{"device", "cpu"},
                      {"kernels", std::string(kernels::name(ways.family))},
                      {"activations", activations_name(ways.activations)},
                      {"threads", ways.threads_bound ? "bound" : "unbound"}});
  return labels;
}

Labels replica_labels(const RankPlace& place, const ServeOptions& options, const GpuWays& ways) {
  Labels labels = common_labels(place, ways.sums == comm::AllReduce::peer ? "peer" : "nccl");
  labels.merge(Labels{{"device", "cuda"},
                      {"kernels", ways.architecture},
                      {"attention", attention_name(ways.attention)},
                      {"products", options.products},
                      {"nccl_windows", ways.windows.fraction()}});
  return labels;
}

}  // namespace lockstep::launch
