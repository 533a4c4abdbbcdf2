// What one rank takes of its GPU, in bytes, told from the model's sizes alone
// (shard/rank_memory.h).
#pragma once

#include <vector>

#include "kernels/cuda/weight_tiles.h"
#include "shard/gpu/runner_sizes.h"
#include "shard/gpu/token_choice.h"
#include "shard/partition.h"
#include "shard/rank_memory.h"

namespace lockstep::shard {

// How a GPU keeps weights of `format`: what the CPU keeps in more than four bits is bf16 there,
// unless it is in eight already.
kernels::cuda::TileFormat gpu_format(MatrixFormat format);

// The options of a server of these sizes. `chooses`: whether this stage chooses tokens. Throws
// Error as choose_attention() does.
GpuRunnerOptions gpu_options(const model::ModelConfig& config, int ranks, const StepSizes& sizes,
                             bool chooses);
GpuChoiceOptions gpu_choice_options(const StepSizes& sizes);

// Whether attention serves so many ranks, by the kernel that `sizes` asks for.
bool gpu_attends(const model::ModelConfig& config, int ranks, const StepSizes& sizes);

// Rank `rank` of those with these parts. Throws Error where attention does not serve so many.
RankMemory gpu_rank_memory(const ModelShape& shape, const std::vector<Partition>& parts, int rank,
                           const StepSizes& sizes);

}  // namespace lockstep::shard
