// One rank's shard on a GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/gpu_rank.h"
#include "comm/mpi_environment.h"
#include "kernels/cuda/attention_backend.h"
#include "launch/replica_labels.h"
#include "launch/replica_sizes.h"
#include "launch/serve_options.h"
#include "model/model.h"
#include "shard/gpu/step_runner.h"
#include "shard/pipeline_place.h"
#include "shard/sampler.h"

namespace lockstep::launch {

class GpuShard {
 public:
  // Collective over all ranks, which `world` joins; `stage` joins those that share the layers of
  // `place`. Takes the device, loads the weights, and gives the KV cache what is left: as many
  // blocks on every rank of every stage. All must outlive it. Throws Error naming what is missing:
  // a device, room (with a table of what took it), or an option's limit.
  GpuShard(const ServeOptions& options, const model::Model& model, const comm::MpiEnvironment& mpi,
           comm::Communicator& world, comm::Communicator& stage, const shard::PipelinePlace& place,
           shard::StepTimes& times);

  shard::StepRunner& steps() { return steps_; }
  const ReplicaSizes& sizes() const { return sizes_; }
  std::string device() const { return rank_->device(); }
  GpuWays ways() const {
    return {rank_->architecture(), attention_, rank_->all_reduce().path, rank_->windows()};
  }
  // For the thread that computes.
  void bind_thread() const { rank_->bind_thread(); }

 private:
  std::int32_t settle_blocks(const ServeOptions& options, const model::Model& model,
                             const comm::MpiEnvironment& mpi, comm::Communicator& world);
  const shard::Partition& part() const {
    return parts_[static_cast<std::size_t>(rank_->exchange().rank())];
  }

  const std::unique_ptr<comm::cuda::GpuRank> rank_;
  const std::vector<shard::Partition> parts_;  // of the stage's ranks
  ReplicaSizes sizes_;
  const kernels::cuda::AttentionBackend attention_;  // not automatic
  shard::GpuLlamaRunner runner_;
  shard::Sampler sampler_;
  shard::GpuTokenChoice choice_;
  shard::GpuStepRunner steps_;
};

}  // namespace lockstep::launch
