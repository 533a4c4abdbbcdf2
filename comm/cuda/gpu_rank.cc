#include "comm/cuda/gpu_rank.h"

#include <span>
#include <string>
#include <vector>

#include "comm/cuda/ipc_memory.h"
#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/nccl_exchange.h"
#include "comm/cuda/window_allocator.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/stream_gpu.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::comm::cuda {
namespace {

// What the first of `ranks` makes, on all of them. Ranks start their devices at their own pace: the
// deadline of `ranks` begins when all of the replica have.
std::string shared_id(const MpiEnvironment& environment, Communicator& ranks) {
  environment.wait_for_all();
  if (ranks.size() == 1) return {};
  const auto mine = ranks.rank() == 0 ? NcclCommunicator::make_id() : std::string();
  std::vector<std::size_t> counts(static_cast<std::size_t>(ranks.size()));
  counts[0] = NcclCommunicator::kIdBytes;
  std::string id(counts[0], '\0');
  ranks.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(id)), counts,
                   "NCCL's id");
  return id;
}

// What the replica calls rank 0 of `ranks`.
int first_of(const MpiEnvironment& environment, const Communicator& ranks) {
  return environment.rank() - ranks.rank();
}

AllReduceChoice settle_all_reduce(const MpiEnvironment& environment, Communicator& ranks,
                                  kernels::cuda::DevicePool& pool, AllReduce asked) {
  AllReduceNeeds needs{
      .ranks = ranks.size(),
      .one_host = environment.one_host({first_of(environment, ranks), ranks.size()})};
  if (needs.ranks > 1 && asked != AllReduce::nccl && obstacle_to_peers(needs).empty()) {
    needs.obstacle = IpcMemory::obstacle(ranks, first_of(environment, ranks), pool);
  }
  return choose_all_reduce(asked, needs);
}

class NcclRank final : public GpuRank {
 public:
  // Kernels that wait for a rank give up before the host does, whose error then says which rank.
  NcclRank(const MpiEnvironment& environment, Communicator& ranks, const GpuRankOptions& options)
      : device_(kernels::cuda::find_devices(), environment.rank(), environment.local_rank(),
                environment.local_size()),
        gpu_(device_),
        communicator_(shared_id(environment, ranks), ranks.rank(), ranks.size(), device_,
                      NcclOptions{.deadline = options.deadline}),
        all_reduce_(settle_all_reduce(environment, ranks, gpu_.memory(), options.all_reduce)),
        windows_(communicator_, device_),
        exchange_(communicator_, gpu_.stream(),
                  {.ranks = ranks,
                   .pool = gpu_.memory(),
                   .patience = options.deadline * 3 / 4,
                   .first_rank = first_of(environment, ranks),
                   .path = all_reduce_.path,
                   .windows = options.windows && ranks.size() > 1 ? &windows_ : nullptr}) {}

  kernels::cuda::Gpu& gpu() override { return gpu_; }
  GpuExchange& exchange() override { return exchange_; }
  std::string device() const override { return device_.name(); }
  std::string device_id() const override { return device_.description().pci_bus_id; }
  std::string architecture() const override {
    const auto& description = device_.description();
    return "sm" + std::to_string(description.compute_major) +
           std::to_string(description.compute_minor);
  }
  const AllReduceChoice& all_reduce() const override { return all_reduce_; }
  WindowCount windows() const override {
    return {.asked = windows_.asked(),
            .made = windows_.made(),
            .told = NcclCommunicator::tells_of_windows()};
  }
  void bind_thread() const override { device_.bind_thread(); }

 private:
  kernels::cuda::Device device_;
  kernels::cuda::StreamGpu gpu_;
  NcclCommunicator communicator_;
  const AllReduceChoice all_reduce_;
  WindowAllocator windows_;
  NcclExchange exchange_;
};

}  // namespace

std::unique_ptr<GpuRank> open_gpu_rank(const MpiEnvironment& environment, Communicator& ranks,
                                       const GpuRankOptions& options) {
  return std::make_unique<NcclRank>(environment, ranks, options);
}

}  // namespace lockstep::comm::cuda
