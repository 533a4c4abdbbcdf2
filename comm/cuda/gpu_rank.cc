#include "comm/cuda/gpu_rank.h"

#include <span>
#include <string>
#include <vector>

#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/nccl_exchange.h"
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

class NcclRank final : public GpuRank {
 public:
  NcclRank(const MpiEnvironment& environment, Communicator& ranks,
           std::chrono::milliseconds deadline)
      : device_(kernels::cuda::find_devices(), environment.rank(), environment.local_rank(),
                environment.local_size()),
        gpu_(device_),
        communicator_(shared_id(environment, ranks), ranks.rank(), ranks.size(), device_,
                      NcclOptions{.deadline = deadline}),
        exchange_(communicator_, gpu_.stream()) {}

  kernels::cuda::Gpu& gpu() override { return gpu_; }
  GpuExchange& exchange() override { return exchange_; }
  std::string device() const override { return device_.name(); }
  std::string device_id() const override { return device_.description().pci_bus_id; }
  std::string architecture() const override {
    const auto& description = device_.description();
    return "sm" + std::to_string(description.compute_major) +
           std::to_string(description.compute_minor);
  }
  void bind_thread() const override { device_.bind_thread(); }

 private:
  kernels::cuda::Device device_;
  kernels::cuda::StreamGpu gpu_;
  NcclCommunicator communicator_;
  NcclExchange exchange_;
};

}  // namespace

std::unique_ptr<GpuRank> open_gpu_rank(const MpiEnvironment& environment, Communicator& ranks,
                                       std::chrono::milliseconds deadline) {
  return std::make_unique<NcclRank>(environment, ranks, deadline);
}

}  // namespace lockstep::comm::cuda
