#include "launch/serve_arguments.h"

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kernels/cuda/visible_devices.h"
#include "launch/argument_checks.h"
#include "launch/named_values.h"
#include "launch/replica_sizes.h"
#include "launch/toml_config.h"

namespace lockstep::launch {
namespace {

const std::map<std::string, comm::Transport> kTransports{
    {"auto", comm::Transport::automatic},
    {"shared-memory", comm::Transport::shared_memory},
    {"mpi", comm::Transport::mpi}};

const std::map<std::string, KvCacheType> kKvCacheTypes{{"auto", KvCacheType::bf16},
                                                       {"bf16", KvCacheType::bf16},
                                                       {"int8", KvCacheType::int8},
                                                       {"fp8", KvCacheType::fp8}};

const std::map<std::string, Device> kDevices{
    {"auto", Device::automatic}, {"cpu", Device::cpu}, {"cuda", Device::cuda}};

const std::map<std::string, bool> kBindings{{"auto", true}, {"none", false}};

// What is typed in another form than ServeOptions holds it.
struct Typed {
  std::string config;
  std::int64_t deadline_ms = ServeOptions{}.deadline.count();
  std::int64_t request_timeout_s = ServeOptions{}.request_timeout.count();
  std::int64_t shutdown_timeout_s = ServeOptions{}.shutdown_timeout.count();
};

void add_engine_options(CLI::App& serve, ServeOptions& options, Typed& typed) {
  const auto defaults = [](CLI::Option* option) { return option->capture_default_str(); };
  defaults(serve.add_option("--max-num-seqs", options.max_num_seqs,
                            "Sequences that run at the same time"))
      ->check(CLI::Range(1, 4096));
  serve
      .add_option("--max-num-batched-tokens", options.max_num_batched_tokens,
                  "Tokens computed in one step; long prompts are cut in chunks; default: " +
                      batched_tokens_text())
      ->check(CLI::Range(1, 65536));
  serve
      .add_option(
          "--num-speculative-tokens", options.num_speculative_tokens,
          "On CPUs, tokens guessed ahead in one step (speculative decoding by what the "
          "sequence repeats; the answers stay the same), where so few sequences decode that "
          "they have room; 0: none; default: " +
              std::to_string(kCpuSpeculativeTokens))
      ->check(CLI::Range(0, 1024));
  defaults(serve.add_option("--max-model-len", options.max_model_len,
                            "Longest prompt and answer together; 0: what the model was made for"))
      ->check(CLI::Range(0, 1 << 24));
  defaults(serve.add_option("--block-size", options.block_size,
                            "Positions in a block of the KV cache, a multiple of 16"))
      ->check(CLI::Range(16, 1024));
  serve
      .add_option(
          "--kv-cache-memory", options.kv_cache_memory,
          "Memory for the KV cache on each rank, e.g. 512MiB; 0: a quarter of what is free, "
          "on a GPU see --gpu-memory-utilization")
      ->transform(CLI::Validator(size_to_bytes, ""))
      ->type_name("SIZE");
  defaults(serve.add_option("--gpu-memory-utilization", options.gpu_memory_utilization,
                            "Share of a GPU's memory that weights, buffers and KV cache may take"))
      ->check(CLI::Range(0.05, 1.0));
  serve
      .add_option(
          "--kv-cache-dtype", options.kv_cache_dtype,
          "Keys and values in the cache: auto (bf16), bf16, int8 (half the memory; on CPUs), "
          "fp8 (half the memory; on GPUs) [auto]")
      ->transform(one_of(kKvCacheTypes))
      ->type_name("FORMAT");
  defaults(serve.add_option("--max-queue", options.max_queue,
                            "Waiting requests; more are refused as overloaded"))
      ->check(CLI::Range(1, 1 << 20));
  defaults(serve.add_option("--request-timeout-s", typed.request_timeout_s,
                            "Over HTTP, the time for a whole answer, queueing included; of a "
                            "stream, for whatever comes next of it"))
      ->check(CLI::Range(1, 604'800));
  defaults(serve.add_option("--shutdown-timeout", typed.shutdown_timeout_s,
                            "Seconds that open requests have to end after a SIGTERM to rank 0, "
                            "while new ones are refused; a second SIGTERM ends all at once"))
      ->check(CLI::Range(0, 604'800));
  defaults(serve.add_option("--seed", options.seed, "Seed of requests that bring none"))
      ->check(check_unsigned);
}

void add_machine_options(CLI::App& serve, ServeOptions& options, Typed& typed) {
  serve
      .add_option(
          "--tp,--tensor-parallel-size", options.tensor_parallel_size,
          "Ranks that share each layer; default: all that mpirun has started, divided by --pp")
      ->check(CLI::Range(1, 1024));
  serve
      .add_option("--pp,--pipeline-parallel-size", options.pipeline_parallel_size,
                  "Stages that the layers are cut into, each of --tp neighbouring ranks: across "
                  "nodes, say, with --tp inside them")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  serve
      .add_option(
          "--device", options.device,
          "What computes: auto (cuda where this build has it and every rank a GPU, else cpu), "
          "cpu, cuda [auto]")
      ->transform(one_of(kDevices))
      ->type_name("NAME");
  serve
      .add_option("--threads", options.threads,
                  "Compute threads per rank; 0: this rank's share of the cores")
      ->check(CLI::Range(0, 1024));
  serve
      .add_option("--bind", options.bind,
                  "auto: each compute thread to a core of its own, where they fit; none [auto]")
      ->transform(one_of(kBindings))
      ->type_name("NAME");
  serve
      .add_option("--weight-cache", options.weight_cache,
                  "Keep each rank's packed weights in files here, for faster starts")
      ->type_name("DIR");
  serve
      .add_option("--transport", options.transport,
                  "Between ranks: auto, shared-memory or mpi [auto]")
      ->transform(one_of(kTransports))
      ->type_name("NAME");
  serve
      .add_option("--kernels", options.kernels,
                  "CPU instructions: auto, scalar, avx2, avx512, avx512_bf16, amx")
      ->check(CLI::IsMember({"auto", "scalar", "avx2", "avx512", "avx512_bf16", "amx"}))
      ->capture_default_str()
      ->type_name("NAME");
  serve
      .add_option(
          "--activations", options.activations,
          "What products make of activations, where the weights suit: int8 and bf16 (for "
          "quantized weights), f32 (never rounded, slow); auto: int8 for quantized weights, "
          "bf16 for bf16, else f32")
      ->check(CLI::IsMember({"auto", "int8", "bf16", "f32"}))
      ->capture_default_str()
      ->type_name("FORMAT");
  serve
      .add_option("--attention-backend", options.attention_backend,
                  "On GPUs: auto, flashinfer, own (any number of ranks and heads), or fa3 (Hopper, "
                  "head_dim 128, cache in bf16: for long prompts and few tokens, since it decodes "
                  "slowly); auto: flashinfer where the build has it and the model's heads suit")
      ->check(CLI::IsMember({"auto", "flashinfer", "own", "fa3"}))
      ->capture_default_str()
      ->type_name("NAME");
  serve
      .add_option("--all-reduce", options.all_reduce,
                  "On GPUs, sums between ranks of few rows, as in decoding: peer (kernels in each "
                  "other's memory), nccl, or auto: peer where all GPUs of a stage are on one host "
                  "and reach each other's memory")
      ->check(CLI::IsMember({"auto", "peer", "nccl"}))
      ->capture_default_str()
      ->type_name("NAME");
  serve.add_flag(
      "--nccl-windows", options.nccl_windows,
      "On GPUs, what NCCL gathers at every step lies in its symmetric windows, which has "
      "a lower latency where all GPUs of a stage reach each other's memory; the log says "
      "whether NCCL makes them");
  serve
      .add_option("--quantization", options.quantization,
                  "On GPUs, while loading weights of 16 and 32 bits: none, or fp8 (e4m3 with a "
                  "scale a row, but for embedding and head)")
      ->check(CLI::IsMember({"none", "fp8"}))
      ->capture_default_str()
      ->type_name("FORMAT");
  serve
      .add_option(
          "--products", options.products,
          "On GPUs: own; warpgroups (on Hopper, many rows by the unit of its warpgroups, "
          "with the same bits; not yet shown on a GPU); or cublaslt (bf16 weights whose "
          "sums no rank shares, where it has algorithms with one order of the sum; those it "
          "has measured are kept in --weight-cache)")
      ->check(CLI::IsMember({"own", "warpgroups", "cublaslt"}))
      ->capture_default_str()
      ->type_name("NAME");
  serve
      .add_option("--weights-ahead", options.weights_ahead_mib,
                  "On GPUs (Hopper and later), of the weights that are multiplied next, what is "
                  "fetched into the second cache while smaller kernels run; 0: nothing")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->type_name("MIB");
  serve
      .add_option(
          "--deadline-ms", typed.deadline_ms,
          "A rank that shows no sign of work for so long ends the job; a step may take longer")
      ->check(CLI::Range(100, 3'600'000))
      ->capture_default_str();
  serve.add_option("--log-level", options.log_level, "trace, debug, info, warning, error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}))
      ->capture_default_str()
      ->type_name("NAME");
}

void add_trace_options(CLI::App& serve, ServeOptions& options) {
  serve
      .add_option("--trace", options.trace.path,
                  "Write a timeline of some steps here, for Perfetto or chrome://tracing")
      ->type_name("FILE");
  serve.add_option("--trace-steps", options.trace.steps, "Steps in the timeline")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  serve.add_option("--trace-skip", options.trace.skip, "Steps before the timeline begins")
      ->check(CLI::Range(0, 1'000'000'000))
      ->capture_default_str();
}

// What no single option can check.
void check(const ServeOptions& options) {
  if (options.model.empty()) throw CLI::RequiredError("MODEL");
  const bool never_cuda = options.device == Device::automatic && !kernels::cuda::is_built_in();
  check_step_sizes(options, never_cuda ? Device::cpu : options.device);
  if (options.device == Device::cuda && options.kv_cache_dtype == KvCacheType::int8) {
    throw CLI::ValidationError("--kv-cache-dtype", "int8 is for CPUs: on GPUs there is fp8");
  }
  if (options.device == Device::cpu && options.quantization == "fp8") {
    throw CLI::ValidationError("--quantization", "fp8 is for GPUs");
  }
  if (options.device == Device::cpu && options.kv_cache_dtype == KvCacheType::fp8) {
    throw CLI::ValidationError("--kv-cache-dtype", "fp8 is for GPUs: on CPUs there is int8");
  }
}

}  // namespace

void check_step_sizes(const ServeOptions& options, Device device) {
  if (options.block_size % 16 != 0) {
    throw CLI::ValidationError("--block-size",
                               std::to_string(options.block_size) + " is not a multiple of 16");
  }
  const std::string wrong = short_step(options, device);
  if (!wrong.empty()) throw CLI::ValidationError("--max-num-batched-tokens", wrong);
  const std::string drafts = too_many_drafts(options, device);
  if (!drafts.empty()) throw CLI::ValidationError("--num-speculative-tokens", drafts);
}

void add_serve_arguments(CLI::App& serve, ServeOptions& options, std::function<void()> done) {
  const auto typed = std::make_shared<Typed>();
  serve.add_option("model,--model", options.model, "A GGUF file or a Hugging Face folder")
      ->type_name("MODEL");
  serve
      .add_option("--config", typed->config,
                  "TOML file with any of these options; options override it")
      ->check(CLI::ExistingFile);
  serve
      .add_option("--http", options.http,
                  "Serve the OpenAI API here, e.g. 127.0.0.1:8000 or localhost:8000")
      ->check(check_http_address)
      ->type_name("HOST:PORT");
  serve.add_option("--zmq", options.zmq, "Serve native clients here")
      ->check(check_zmq_address)
      ->capture_default_str()
      ->type_name("ADDRESS");
  serve.add_option("--served-model-name", options.served_model_name,
                   "The model's name in the API; default: the file's");
  add_engine_options(serve, options, *typed);
  add_machine_options(serve, options, *typed);
  add_trace_options(serve, options);
  serve.callback([&serve, &options, typed, done = std::move(done)] {
    if (!typed->config.empty()) apply_toml(typed->config, serve);
    options.deadline = std::chrono::milliseconds(typed->deadline_ms);
    options.request_timeout = std::chrono::seconds(typed->request_timeout_s);
    options.shutdown_timeout = std::chrono::seconds(typed->shutdown_timeout_s);
    check(options);
    done();
  });
}

}  // namespace lockstep::launch
