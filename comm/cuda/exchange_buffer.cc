#include "comm/cuda/exchange_buffer.h"

#include "comm/cuda/nccl_status.h"

namespace lockstep::comm::cuda {
namespace {

// Memory that other GPUs can map.
class WindowAllocator final : public kernels::device::Allocator {
 public:
  explicit WindowAllocator(const kernels::cuda::Device& device)
      : plain_(device), device_(device), name_("NCCL's memory of " + device.name()) {}
  std::string_view name() const override { return name_; }

  void* allocate(std::size_t bytes) override {
    device_.bind_thread();
    void* memory = nullptr;
    const ncclResult_t result = ncclMemAlloc(&memory, bytes);
    // NCCL has one code for every failure of CUDA's.
    if (result == ncclUnhandledCudaError && room().free < bytes) return nullptr;
    check_nccl(result, "ncclMemAlloc", device_.name());
    return memory;
  }
  void release(void* memory) noexcept override { ncclMemFree(memory); }
  Room room() override { return plain_.room(); }

 private:
  kernels::cuda::DeviceAllocator plain_;
  const kernels::cuda::Device& device_;
  const std::string name_;
};

}  // namespace

ExchangeBuffer::ExchangeBuffer(NcclCommunicator& communicator, kernels::cuda::DevicePool& pool,
                               const std::string& label, std::size_t bytes)
    : communicator_(communicator),
      allocator_(communicator.options_.symmetric_windows && communicator.size() > 1
                     ? std::make_unique<WindowAllocator>(pool.device())
                     : nullptr),
      memory_(allocator_ ? pool.allocate_from(*allocator_, label, bytes)
                         : pool.allocate(label, bytes)) {
  if (!allocator_) return;
  const std::string what = "registering " + label;
  const NcclCommunicator::Operation operation = communicator.begin(what);
  communicator.require(ncclCommWindowRegister(communicator.communicator_, memory_.data(), bytes,
                                              &window_, NCCL_WIN_COLL_SYMMETRIC),
                       "ncclCommWindowRegister", operation);
  communicator.settle("ncclCommWindowRegister", operation);
}

ExchangeBuffer::~ExchangeBuffer() {
  // An aborted communicator has taken its windows along.
  if (window_ != nullptr && communicator_.communicator_ != nullptr) {
    ncclCommWindowDeregister(communicator_.communicator_, window_);
  }
}

}  // namespace lockstep::comm::cuda
