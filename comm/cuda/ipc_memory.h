// Memory of every rank of a host, in the address space of each of them: CUDA IPC (CUDA Runtime API,
// section 6.11).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/cuda/memory_pool.h"

namespace lockstep::comm::cuda {

// A rank allocates its part, tells the others its handle, and maps theirs. Ranks are processes;
// they have a GPU each, or share some.
class IpcMemory {
 public:
  // Collective over `ranks`, with equal `bytes` > 0: that much of every rank, zeroed, which the
  // pool counts under `label` in whole pieces (whole_peer_memory()). Each rank has written to all
  // of it once, and everyone has read what came. All must outlive it. Throws Error on all
  // ranks when one cannot reach another's memory or has no room: its own, or the first one's; and
  // CollectiveTimeout. `first_rank`: what the replica calls rank 0 of `ranks`.
  IpcMemory(Communicator& ranks, int first_rank, kernels::cuda::DevicePool& pool,
            const std::string& label, std::size_t bytes);
  // Collective, but while an exception is under way: nobody's memory goes before all have let go
  // of it. Where they do not come, it stays until the process ends.
  ~IpcMemory();
  IpcMemory(const IpcMemory&) = delete;
  IpcMemory& operator=(const IpcMemory&) = delete;

  // As this rank addresses it, in rank order.
  const std::vector<std::byte*>& of_ranks() const { return of_ranks_; }

  // Why `ranks` cannot have such memory; "": they can. Collective. Tries it with a little.
  static std::string obstacle(Communicator& ranks, int first_rank, kernels::cuda::DevicePool& pool);

 private:
  struct Close {
    void operator()(void* memory) const { cudaIpcCloseMemHandle(memory); }
  };
  void open(const std::vector<cudaIpcMemHandle_t>& handles);
  void prove();
  // Runs one rank's part of a step. Throws on all ranks if one failed.
  template <class Part>
  void together(const char* what, Part part);
  void let_go();
  void leave();
  std::string name_of(std::size_t rank) const;

  Communicator& ranks_;
  const int first_rank_;
  const kernels::cuda::Device& device_;
  const int exceptions_;  // under way when this object was made
  kernels::device::Allocation own_;
  std::vector<std::unique_ptr<void, Close>> opened_;  // other ranks'
  std::vector<std::byte*> of_ranks_;
};

}  // namespace lockstep::comm::cuda
