// What a replica tells of how it computes.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "comm/all_reduce_choice.h"
#include "kernels/activation_format.h"
#include "kernels/cpu_family.h"
#include "kernels/cuda/attention_backend.h"
#include "launch/pipeline.h"
#include "launch/serve_options.h"
#include "model/model.h"

namespace lockstep::launch {

// The ways that a rank on a CPU has taken.
struct CpuWays {
  kernels::CpuFamily family;
  kernels::ActivationFormat activations;  // of most products
  bool sums_in_place;                     // in shared memory, without copies
  bool threads_bound;                     // to cores
};

// A rank on a GPU.
struct GpuWays {
  std::string architecture;                   // "sm90"
  kernels::cuda::AttentionBackend attention;  // not automatic
  comm::AllReduce sums;                       // of few rows: peer or nccl
  comm::WindowCount windows;
};

// What an answer's bits depend on: the device, the weights' storage types, what products make of
// activations and how keys and values are stored; of CPU families only whether it is amx.
std::string fingerprint(const model::Model& model, const ServeOptions& options,
                        kernels::CpuFamily family);
std::string fingerprint(const model::Model& model, const ServeOptions& options,
                        const GpuWays& ways);

// The labels of the metric lockstep_replica_info: which ways rank 0, of this place, has taken,
// those that bits do not depend on among them.
using Labels = std::map<std::string, std::string>;
Labels replica_labels(const RankPlace& place, const CpuWays& ways);
Labels replica_labels(const RankPlace& place, const ServeOptions& options, const GpuWays& ways);

}  // namespace lockstep::launch
