// Linked in place of all other files of this folder where LOCKSTEP_CUDA is off.
#include "base/error.h"
#include "comm/cuda/gpu_rank.h"

namespace lockstep::comm::cuda {

std::unique_ptr<GpuRank> open_gpu_rank(const MpiEnvironment&, Communicator&,
                                       const GpuRankOptions&) {
  throw Error("this build has no CUDA: configure with --preset cuda-release");
}

}  // namespace lockstep::comm::cuda
