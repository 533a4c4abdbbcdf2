// A rank's GPU as a stream of its device.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/memory_pool.h"
#include "kernels/cuda/stream.h"

namespace lockstep::kernels::cuda {

// All work goes on one stream of its own. The thread that uses it has called device.bind_thread();
// the one that made it has. The device must outlive it, and it everything that it gave out.
class StreamGpu final : public Gpu {
 public:
  explicit StreamGpu(const Device& device);

  const Device& device() const { return stream_.device(); }
  const Stream& stream() const { return stream_; }  // for NCCL
  DevicePool& memory() override { return memory_; }
  PinnedPool& pinned_memory() override { return pinned_; }
  // With unified addressing a kernel has the host's pointers to pinned memory.
  PinnedPool& mapped_memory() override { return pinned_; }

  void upload(void* to, std::span<const std::byte> from, const char* what) override;
  void download(std::span<std::byte> to, const void* from, const char* what) override;
  void copy(void* to, const void* from, std::size_t bytes, const char* what) override;
  void clear(void* memory, std::size_t bytes, const char* what) override;

  void run(const EmbeddingArgs& args) override;
  void run(const RmsNormArgs& args) override;
  void run(const PeerNormArgs& args) override;
  void run(const ProductArgs& args) override;
  void run(const RopeKvArgs& args) override;
  void run(const AttentionArgs& args) override;
  void run(const FlashInferArgs& args, const FlashInferLayout& layout, const FlashInferWave& wave,
           const FlashInferGrid& grid) override;
  bool has_flashinfer() const override { return flashinfer_built_in(); }
  void run(const Fa3Args& args, const Fa3Layout& layout) override;
  bool has_fa3() const override;
  bool has_warpgroups() const override;
  void run(const SwigluArgs& args) override;
  void run(const SegmentSumArgs& args) override;
  void modify_logits(const TokenChoiceArgs& args) override;
  void choose_tokens(const TokenChoiceArgs& args) override;
  void run(const RankWinnersArgs& args) override;
  void run(const CopyRowsArgs& args) override;
  void run(const TruncationArgs& args) override;
  void run(const TopLogprobsArgs& args) override;

  std::unique_ptr<PlainProducts> plain_products(const std::string& algorithms) override;
  std::unique_ptr<Recording> record(const std::function<void()>& body) override;
  std::unique_ptr<Mark> make_mark() override;
  void synchronize(const char* what) override;

 private:
  // What the launcher throws, with the device's name in front.
  template <class Args>
  void launch(void (*launcher)(const Args&, StreamHandle), const Args& args) {
    named([&] { launcher(args, stream_.get()); });
  }
  void named(const std::function<void()>& launch) const;
  bool runs_sm_90a() const;

  DevicePool memory_;
  PinnedPool pinned_;
  Stream stream_;
};

}  // namespace lockstep::kernels::cuda
