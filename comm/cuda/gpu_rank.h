// A rank's GPU, and its connections to those of the other ranks. This header needs no CUDA: a build
// without it has a body too (absent.cc), which says so.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "comm/all_reduce_choice.h"
#include "comm/communicator.h"
#include "comm/gpu_exchange.h"
#include "comm/mpi_environment.h"
#include "kernels/cuda/gpu.h"

namespace lockstep::comm::cuda {

struct GpuRankOptions {
  std::chrono::milliseconds deadline{10000};  // of every exchange
  AllReduce all_reduce = AllReduce::automatic;
  bool windows = false;  // gathers by NCCL from and into symmetric windows
};

class GpuRank {
 public:
  virtual ~GpuRank() = default;
  virtual kernels::cuda::Gpu& gpu() = 0;
  virtual GpuExchange& exchange() = 0;
  virtual std::string device() const = 0;     // "rank 3, CUDA device 1 (NVIDIA H200)"
  virtual std::string device_id() const = 0;  // "0000:1b:00.0": the same for ranks that share one
  virtual std::string architecture() const = 0;  // "sm90": products' bits are an architecture's own
  virtual const AllReduceChoice& all_reduce() const = 0;
  // Up to now; of one rank, and without GpuRankOptions::windows, none are asked for.
  virtual WindowCount windows() const = 0;
  // Makes the device the calling thread's: what uses it from another thread calls this once.
  virtual void bind_thread() const = 0;
};

// Collective over all ranks of `environment`: takes this rank's device among those of its host
// (kernels/device/device_choice.h) and connects it with those of the ranks that `ranks` joins: of a
// pipeline stage, or all; both must outlive it. Throws Error, also in a build without CUDA or where
// the all-reduce cannot be had, and CollectiveTimeout when ranks do not come.
std::unique_ptr<GpuRank> open_gpu_rank(const MpiEnvironment& environment, Communicator& ranks,
                                       const GpuRankOptions& options);

}  // namespace lockstep::comm::cuda
