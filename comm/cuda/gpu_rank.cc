#include "comm/cuda/gpu_rank.h"

#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/nccl_exchange.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/stream_gpu.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::comm::cuda {
namespace {

class NcclRank final : public GpuRank {
 public:
  NcclRank(const MpiEnvironment& environment, std::chrono::milliseconds deadline)
      : device_(kernels::cuda::find_devices(), environment.rank(), environment.local_rank(),
                environment.local_size()),
        gpu_(device_),
        communicator_(environment, device_, NcclOptions{.deadline = deadline}),
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

std::unique_ptr<GpuRank> open_gpu_rank(const MpiEnvironment& environment,
                                       std::chrono::milliseconds deadline) {
  return std::make_unique<NcclRank>(environment, deadline);
}

}  // namespace lockstep::comm::cuda
