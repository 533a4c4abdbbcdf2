// The sizes of a replica, settled between what was asked, the model and the machine.
#pragma once

#include <cstdint>
#include <string>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"
#include "kernels/kv_format.h"
#include "launch/device.h"
#include "launch/pipeline.h"
#include "launch/serve_options.h"
#include "model/model.h"

namespace lockstep::launch {

// The CPU's form. Throws Error for fp8, which it has not.
kernels::KvFormat cpu_kv_format(KvCacheType type);

// Tokens computed in one step where nobody says how many. A GPU needs many rows to be busy between
// one reading of its weights and the next; a CPU is busy with fewer.
inline constexpr std::int32_t kCpuBatchedTokens = 512;
inline constexpr std::int32_t kGpuBatchedTokens = 2048;

// Tokens computed in one step on that device: what was asked, else the device's default. While the
// device is not known (automatic), the larger of the two.
std::int32_t batched_tokens(const ServeOptions& options, Device device);

// The defaults, for an option's help: "512 on CPUs, 2048 on GPUs".
std::string batched_tokens_text();

// Why a step of so many tokens on that device is too short; "": it is not.
std::string short_step(const ServeOptions& options, Device device);

// batched_tokens() of a device that is known. Throws Error naming the option when a step would be
// too short. Every rank and the coordinator go by it: their options and their device are the same.
std::int32_t settle_batched_tokens(const ServeOptions& options, Device device);

// Tokens guessed ahead in one step where nobody says how many: eight rows of a step cost two cores
// about twice one row. GPUs draw one token of a sequence in a step.
inline constexpr std::int32_t kCpuSpeculativeTokens = 7;

// Tokens guessed ahead in one step on that device: what was asked, else the device's default, as
// far as a step has room for them.
std::int32_t speculative_tokens(const ServeOptions& options, Device device);

// Tokens of one step on a CPU that want logits, at most.
std::int32_t cpu_logits(const ServeOptions& options);

// Why that device cannot guess as many as were asked; "": it can.
std::string too_many_drafts(const ServeOptions& options, Device device);

// speculative_tokens() of a device that is known. Throws Error naming the option when it cannot.
std::int32_t settle_speculative_tokens(const ServeOptions& options, Device device);

// The longest prompt and answer; `asked`: max_model_len, 0 for what the model was made for. Throws
// Error naming the option when the model was made for less, or when the two have no room in it.
std::int32_t settle_model_len(std::int32_t asked, const model::ModelConfig& config);

// The smallest of all ranks' values. Collective.
std::int64_t smallest(comm::Communicator& communicator, std::int64_t mine);

struct ReplicaSizes {
  std::int32_t max_batched_tokens = 0;
  std::int32_t max_model_len = 0;
  std::int32_t num_speculative_tokens = 0;
  std::int32_t num_blocks = 0;  // the same on every rank: the least that any can hold
};

// Of CPUs. Collective over all ranks, which `communicator` joins, before any loads weights.
// `threads`: this rank's. Throws Error naming the option and the limit, and when the ranks of this
// host do not fit into its memory: with the numbers, and with what would fit.
ReplicaSizes settle_sizes(const ServeOptions& options, const model::Model& model,
                          const RankPlace& place, const comm::MpiEnvironment& mpi,
                          comm::Communicator& communicator, std::int64_t threads);

}  // namespace lockstep::launch
