// What `lockstep serve` can be told.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "comm/make_communicator.h"
#include "launch/device.h"
#include "launch/timeline.h"

namespace lockstep::launch {

// How keys and values are stored. fp8 (e4m3): on GPUs; int8: on CPUs.
enum class KvCacheType { bf16, int8, fp8 };

// The names are vLLM's where it has them. A TOML file can say all of it.
struct ServeOptions {
  std::string model;                         // a GGUF file or a Hugging Face folder
  std::string http;                          // "localhost:8000"; empty: no HTTP
  std::string zmq = "tcp://127.0.0.1:5555";  // the native client port
  std::string served_model_name;             // empty: the file's or folder's name
  int tensor_parallel_size = 0;              // ranks of a stage; 0: all that mpirun has started
  int pipeline_parallel_size = 1;            // stages; times the ranks of one, the world size
  std::int32_t max_num_seqs = 64;            // sequences that run at the same time
  // Tokens computed in one step; none: what suits the device (batched_tokens(), replica_sizes.h)
  std::optional<std::int32_t> max_num_batched_tokens;
  // Speculative decoding: tokens guessed ahead in one step; none: what suits the device
  // (speculative_tokens(), replica_sizes.h)
  std::optional<std::int32_t> num_speculative_tokens;
  std::int32_t max_model_len = 0;  // prompt and answer; 0: what the model was made for
  std::int32_t block_size = 16;    // positions in a KV block; a multiple of 16
  // Bytes per rank; 0: on CPUs a quarter of what is free, on a GPU what gpu_memory_utilization
  // leaves
  std::size_t kv_cache_memory = 0;
  double gpu_memory_utilization = 0.9;  // of a GPU's memory, weights and all else included
  KvCacheType kv_cache_dtype = KvCacheType::bf16;
  std::int32_t max_queue = 4096;  // waiting requests
  // Over HTTP: for a whole answer; of a stream, for whatever comes next of it
  std::chrono::seconds request_timeout{600};
  std::chrono::seconds shutdown_timeout{0};  // that open requests have to end after a SIGTERM
  std::uint64_t seed = 0;                    // of requests without one
  Device device = Device::automatic;         // what computes
  int threads = 0;                           // per rank; 0: this rank's share of the cores
  bool bind = true;                          // each thread to a core, where that can be
  std::string weight_cache;                  // a folder for packed weights; empty: none
  comm::Transport transport = comm::Transport::automatic;
  std::string kernels = "auto";               // or a name (cpu_family.h)
  std::string activations = "auto";           // in products: "int8", "bf16", "f32"
  std::string attention_backend = "auto";     // on GPUs: "flashinfer", "own", "fa3"
  bool nccl_windows = false;                  // what NCCL gathers, on GPUs
  std::string all_reduce = "auto";            // of few rows, on GPUs: "peer", "nccl"
  std::string quantization = "none";          // on GPUs: "fp8"
  std::string products = "own";               // on GPUs: "own", "warpgroups", "cublaslt"
  int weights_ahead_mib = 32;                 // into a GPU's second cache
  std::chrono::milliseconds deadline{10000};  // for any collective, and any sign of a rank's work
  std::string log_level = "info";
  TimelineOptions trace;
};

}  // namespace lockstep::launch
