#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "base/error.h"
#include "launch/argument_checks.h"
#include "launch/bytes_text.h"
#include "launch/check_output.h"
#include "launch/commands.h"
#include "launch/device_table.h"
#include "launch/host_memory.h"
#include "launch/model_shape.h"
#include "launch/named_values.h"
#include "launch/plan_report.h"
#include "launch/replica_sizes.h"
#include "launch/serve_arguments.h"
#include "launch/serve_options.h"
#include "model/outline.h"
#include "shard/memory_plan.h"

namespace lockstep::launch {
namespace {

constexpr int kDoesNotFit = 1;
constexpr int kUsageError = 2;

const std::map<std::string, KvCacheType> kKvFormats{{"auto", KvCacheType::bf16},
                                                    {"bf16", KvCacheType::bf16},
                                                    {"int8", KvCacheType::int8},
                                                    {"fp8", KvCacheType::fp8}};

const std::map<std::string, shard::MatrixFormat> kWeights{
    {"bf16", shard::MatrixFormat::bf16}, {"fp8", shard::MatrixFormat::fp8},
    {"int8", shard::MatrixFormat::int8}, {"q8", shard::MatrixFormat::q8},
    {"q4_0", shard::MatrixFormat::q4_0}, {"q4", shard::MatrixFormat::q4}};

struct PlanOptions {
  std::string model;
  std::vector<int> tensor_parallel;  // empty: 1, 2, 4, 8
  int pipeline = 1;
  std::string device;             // "cpu", or a name of device_table.h; empty: see is_cpu()
  std::size_t device_memory = 0;  // 0: the device's, or what this host has left
  double utilization = 0.9;
  std::int32_t max_model_len = 0;
  ServeOptions serve;  // the sizes that `serve` takes as well
  std::optional<shard::MatrixFormat> weights;
  int threads = 0;
  bool json = false;

  bool is_cpu() const { return device == "cpu" || (device.empty() && device_memory == 0); }
  Device kind() const { return is_cpu() ? Device::cpu : Device::cuda; }
};

// The memory of CPU ranks: that of each, or of one host that all of them share.
class CpuMemory {
 public:
  explicit CpuMemory(std::size_t of_each) : of_each_(of_each) {
    if (of_each == 0) host_ = read_host_memory();
  }
  bool shared() const { return of_each_ == 0; }
  std::size_t bytes() const { return shared() ? host_.available() : of_each_; }
  shard::MemoryLimits of_rank(int ranks) const {
    return {.device = shard::Device::cpu,
            .memory = bytes() / static_cast<std::size_t>(shared() ? ranks : 1),
            .reserve = 0};
  }
  std::string text() const {
    return shared() ? bytes_text(bytes()) + " available to all ranks of this host (" +
                          host_.source() + ")"
                    : bytes_text(bytes()) + " for each rank";
  }

 private:
  std::size_t of_each_;
  HostMemory host_;
};

shard::StepSizes step_sizes(const PlanOptions& options, const model::ModelConfig& config) {
  const bool fp8 = options.serve.kv_cache_dtype == KvCacheType::fp8;
  return {.kv_format = fp8 ? kernels::KvFormat::bf16 : cpu_kv_format(options.serve.kv_cache_dtype),
          .block_size = options.serve.block_size,
          .max_batch_tokens = batched_tokens(options.serve, options.kind()),
          .max_sequences = options.serve.max_num_seqs,
          .max_logits = cpu_logits(options.serve),
          .max_positions = settle_model_len(options.max_model_len, config),
          .gpu_cache = fp8 ? kernels::cuda::CacheFormat::e4m3 : kernels::cuda::CacheFormat::bf16,
          .gpu_attention = kernels::cuda::attention_backend_of(options.serve.attention_backend),
          .gpu_exchange = {.peers = options.serve.all_reduce != "nccl",
                           .windows = options.serve.nccl_windows}};
}

// 1, 2, 4 and 8, as far as the model can be split so.
std::vector<int> default_splits(const model::ModelConfig& config) {
  std::vector<int> splits{1, 2, 4, 8};
  std::erase_if(splits, [&](int ranks) { return ranks > config.num_attention_heads; });
  return splits;
}

// One plan after the other.
class Planner {
 public:
  Planner(const PlanOptions& options, const model::ModelConfig& config,
          const shard::ModelShape& shape)
      : options_(options), shape_(shape), sizes_(step_sizes(options, config)) {
    if (options.is_cpu()) {
      cpu_.emplace(options.device_memory);
    } else {
      device_memory_ =
          options.device_memory > 0 ? options.device_memory : device_memory(options.device).value();
    }
  }

  shard::MemoryPlan plan(int tensor_parallel) const {
    const int ranks = tensor_parallel * options_.pipeline;
    return plan_memory(shape_, tensor_parallel, options_.pipeline, limits(ranks), sizes_of(ranks));
  }

  // For the last of `report`'s plans.
  void suggest_for(PlanReport& report) const {
    const shard::MemoryPlan& last = report.plans.back();
    const auto of_ranks = [this](int ranks) { return limits(ranks); };
    const int ranks = last.tensor_parallel * last.pipeline;
    report.suggestions = suggest(shape_, last, of_ranks, sizes_of(ranks));
    if (!cpu_ || !cpu_->shared() || options_.pipeline > 1) return;
    const auto of_hosts = [this](int) { return cpu_->of_rank(1); };
    shard::StepSizes apart = sizes_of(1);
    apart.shared_sums = false;
    report.hosts = shard::smallest_split(shape_, 2, 1, of_hosts, apart).value_or(0);
  }

  PlanHeading heading(const std::string& weights) const {
    PlanHeading heading{.path = options_.model,
                        .weights = weights,
                        .device = "cpu",
                        .memory = cpu_ ? cpu_->text() : "",
                        .memory_bytes = cpu_ ? cpu_->bytes() : device_memory_};
    if (cpu_) return heading;
    heading.device = options_.device.empty() ? "cuda" : options_.device;
    heading.memory = bytes_text(device_memory_) + " a device, " + bytes_text(limits(1).memory) +
                     " of it to use (--gpu-memory-utilization)";
    return heading;
  }
  const shard::StepSizes& sizes() const { return sizes_; }

 private:
  shard::MemoryLimits limits(int ranks) const {
    if (cpu_) return cpu_->of_rank(ranks);
    const double usable = static_cast<double>(device_memory_) * options_.utilization;
    return {.device = shard::Device::cuda,
            .memory = static_cast<std::size_t>(usable),
            .reserve = shard::cuda_reserve(ranks)};
  }
  shard::StepSizes sizes_of(int ranks) const {
    shard::StepSizes sizes = sizes_;
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    sizes.threads = options_.threads > 0 ? options_.threads : std::max(1, cores / ranks);
    sizes.shared_sums = cpu_ && cpu_->shared();
    return sizes;
  }

  const PlanOptions& options_;
  const shard::ModelShape& shape_;
  const shard::StepSizes sizes_;
  std::optional<CpuMemory> cpu_;
  std::size_t device_memory_ = 0;
};

int run_plan(const PlanOptions& options) {
  const model::Outline outline = model::read_outline(options.model);
  const PlannedShape planned = shape_of(outline, options.weights);
  const Planner planner(options, outline.config, planned.shape);
  const PlanHeading heading = planner.heading(planned.weights);
  PlanReport report{.heading = heading,
                    .outline = outline,
                    .sizes = planner.sizes(),
                    .plans = {},
                    .suggestions = {}};
  for (const int ranks :
       options.tensor_parallel.empty() ? default_splits(outline.config) : options.tensor_parallel) {
    report.plans.push_back(planner.plan(ranks));
  }
  if (!report.any_fits()) planner.suggest_for(report);
  (options.json ? print_json : print_table)(std::cout, report);
  check_output();
  return report.any_fits() ? 0 : kDoesNotFit;
}

std::string check_device(const std::string& name) {
  if (name == "cpu" || device_memory(name)) return "";
  return "'" + name + "' is not known; known are cpu, " + device_names();
}

// What no single option can check.
void check(const PlanOptions& options, const CLI::App& plan) {
  check_step_sizes(options.serve, options.kind());
  for (const char* option :
       {"--gpu-memory-utilization", "--attention-backend", "--all-reduce", "--nccl-windows"}) {
    if (options.is_cpu() && plan.count(option) > 0) {
      throw CLI::ValidationError(option, "has no meaning on CPUs");
    }
  }
  if (options.serve.attention_backend == "fa3" && !is_hopper(options.device)) {
    throw CLI::ValidationError("--attention-backend",
                               "fa3 needs a Hopper GPU, which " + options.device + " is not");
  }
  const KvCacheType cache = options.serve.kv_cache_dtype;
  if (options.is_cpu() && cache == KvCacheType::fp8) {
    throw CLI::ValidationError("--kv-cache-dtype", "fp8 is for GPUs: on CPUs there is int8");
  }
  if (!options.is_cpu() && cache == KvCacheType::int8) {
    throw CLI::ValidationError("--kv-cache-dtype", "int8 is for CPUs: on GPUs there is fp8");
  }
}

void add_size_options(CLI::App& plan, PlanOptions& options) {
  plan.add_option("--max-model-len", options.max_model_len,
                  "Longest prompt and answer together; 0: what the model was made for")
      ->check(CLI::Range(0, 1 << 24));
  plan.add_option("--max-num-seqs", options.serve.max_num_seqs,
                  "Sequences that run at the same time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  plan.add_option("--max-num-batched-tokens", options.serve.max_num_batched_tokens,
                  "Tokens computed in one step; default: " + batched_tokens_text())
      ->check(CLI::Range(1, 65536));
  plan.add_option("--num-speculative-tokens", options.serve.num_speculative_tokens,
                  "On CPUs, tokens guessed ahead in one step; default: " +
                      std::to_string(kCpuSpeculativeTokens))
      ->check(CLI::Range(0, 1024));
  plan.add_option("--block-size", options.serve.block_size,
                  "Positions in a block of the KV cache, a multiple of 16")
      ->check(CLI::Range(16, 1024))
      ->capture_default_str();
  plan.add_option("--kv-cache-dtype", options.serve.kv_cache_dtype,
                  "Keys and values in the cache: auto (bf16), bf16, int8 (on CPUs), fp8 (on GPUs) "
                  "[auto]")
      ->transform(one_of(kKvFormats))
      ->type_name("FORMAT");
  plan.add_option(
          "--weights", options.weights,
          "Plan for layers in bf16, fp8, int8, q8, q4_0 or q4; default: as they are stored, "
          "of a config.json alone as it says")
      ->transform(one_of(kWeights))
      ->type_name("FORMAT");
}

void add_device_options(CLI::App& plan, PlanOptions& options) {
  plan.add_option("--tp,--tensor-parallel-size", options.tensor_parallel,
                  "Ranks that share the model: one number, or several with commas [1,2,4,8]")
      ->check(CLI::Range(1, 1024))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("N");
  plan.add_option("--pp,--pipeline-parallel-size", options.pipeline,
                  "Runs of layers, each on ranks of its own")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  plan.add_option("--device", options.device,
                  "cpu, or " + device_names() + "; default: cpu, on this host")
      ->check(check_device)
      ->type_name("NAME");
  plan.add_option("--device-memory", options.device_memory,
                  "Memory of each device, e.g. 80GiB: alone of a CUDA device, with --device cpu "
                  "of each rank")
      ->transform(CLI::Validator(size_to_bytes, ""))
      ->type_name("SIZE");
  plan.add_option("--gpu-memory-utilization", options.utilization,
                  "The part of a CUDA device's memory that is used")
      ->check(CLI::Range(0.1, 1.0))
      ->capture_default_str();
  plan.add_option("--attention-backend", options.serve.attention_backend,
                  "On GPUs, of a build with FlashInfer: auto, flashinfer, own or fa3, as for serve")
      ->check(CLI::IsMember({"auto", "flashinfer", "own", "fa3"}))
      ->capture_default_str()
      ->type_name("NAME");
  plan.add_option("--all-reduce", options.serve.all_reduce,
                  "On GPUs: nccl leaves out the memory in which kernels sum few rows; auto, peer")
      ->check(CLI::IsMember({"auto", "peer", "nccl"}))
      ->capture_default_str()
      ->type_name("NAME");
  plan.add_flag("--nccl-windows", options.serve.nccl_windows,
                "On GPUs: what NCCL gathers at every step lies in its symmetric windows, of whole "
                "pieces of 2 MiB");
  plan.add_option("--threads", options.threads,
                  "CPU threads of a rank; 0: its share of this host's")
      ->check(CLI::Range(0, 1024));
}

}  // namespace

void add_plan_command(CLI::App& app, Run& run) {
  auto* plan =
      app.add_subcommand("plan", "Tell whether a model fits, and how many tokens beside it");
  const auto options = std::make_shared<PlanOptions>();
  plan->add_option(
          "model", options->model,
          "A GGUF file, a Hugging Face folder, or a config.json alone; no weights are read")
      ->required()
      ->type_name("MODEL");
  add_device_options(*plan, *options);
  add_size_options(*plan, *options);
  plan->add_flag("--json", options->json, "Print one JSON object, sizes in bytes");
  plan->callback([plan, options, &run] {
    check(*options, *plan);
    run = [options] {
      try {
        return run_plan(*options);
      } catch (const Error& error) {  // 1 says that the model does not fit
        std::cerr << "lockstep: " << error.what() << "\n";
        return kUsageError;
      }
    };
  });
  plan->footer(
      "Exits with 0 when one of the splits fits, with 1 when none does, with 2 when it cannot "
      "tell.\n\n"
      "Examples:\n"
      "  lockstep plan model.gguf                          on this host's CPUs\n"
      "  lockstep plan config.json --device h100 --tp 2,4  before the weights are there\n"
      "  lockstep plan model/ --device-memory 24GiB --max-model-len 8192 --weights q4");
}

}  // namespace lockstep::launch
