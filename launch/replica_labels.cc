#include "launch/replica_labels.h"

#include "kernels/dtype.h"
#include "launch/version.h"

namespace lockstep::launch {
namespace {

// `sums`: between ranks, how.
Labels common_labels(const RankPlace& place, const std::string& sums) {
  return {{"version", kVersion},
          {"tensor_parallel", std::to_string(place.stage_ranks.size)},
          {"pipeline_parallel", std::to_string(place.stage.count)},
          {"sums", place.stage_ranks.size > 1 ? sums : "none"}};
}

std::string attention_name(kernels::cuda::AttentionBackend backend) {
  using enum kernels::cuda::AttentionBackend;
  if (backend == flashinfer) return "flashinfer";
  return backend == fa3 ? "fa3" : "own";
}

}  // namespace

std::string fingerprint(const model::Model& model, const ServeOptions& options, const GpuShard* gpu,
                        kernels::CpuFamily family) {
  const auto type = [&](const char* name) {
    const auto* tensor = model.tensors->find(name);
    return tensor == nullptr ? "none" : std::string(kernels::name(tensor->dtype));
  };
  const std::string weights =
      type("model.layers.0.mlp.up_proj.weight") + "-" + type("model.embed_tokens.weight");
  const std::string version = "lockstep-" + std::string(kVersion);
  if (gpu != nullptr) {
    return version + "-cuda-" + gpu->architecture() + "-" + weights +
           (options.quantization == "fp8" ? "-fp8" : "") +
           (options.products == "cublaslt" ? "-cublaslt" : "") +
           (gpu->attention() == kernels::cuda::AttentionBackend::flashinfer ? "-flashinfer" : "") +
           (gpu->attention() == kernels::cuda::AttentionBackend::fa3 ? "-fa3" : "") +
           (options.kv_cache_dtype == KvCacheType::fp8 ? "-kv-fp8" : "");
  }
  return version + "-cpu-" + (family == kernels::CpuFamily::amx ? "amx-" : "") + weights + "-" +
         options.activations + (options.kv_cache_dtype == KvCacheType::int8 ? "-kv-int8" : "");
}

Labels cpu_labels(const ServeOptions& options, const RankPlace& place, kernels::CpuFamily family,
                  const Placement& placement, const shard::LlamaRunner& runner) {
  Labels labels = common_labels(place, runner.sums_in_place() ? "in_place" : "copied");
  labels.merge(Labels{{"device", "cpu"},
                      {"kernels", std::string(kernels::name(family))},
                      {"activations", options.activations},
                      {"threads", placement.unbound_because.empty() ? "bound" : "unbound"}});
  return labels;
}

Labels gpu_labels(const ServeOptions& options, const RankPlace& place, const GpuShard& gpu) {
  const comm::WindowCount windows = gpu.windows();
  Labels labels =
      common_labels(place, gpu.all_reduce().path == comm::AllReduce::peer ? "peer" : "nccl");
  labels.merge(
      Labels{{"device", "cuda"},
             {"kernels", gpu.architecture()},
             {"attention", attention_name(gpu.attention())},
             {"products", options.products},
             {"nccl_windows", std::to_string(windows.made) + "/" + std::to_string(windows.asked)}});
  return labels;
}

}  // namespace lockstep::launch
