// The memory in which ranks' kernels exchange segments (kernels/cuda/peer_norm.h), and what the
// host makes of a kernel that has waited in vain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/gpu.h"

namespace lockstep::shard {

class PeerChannels {
 public:
  // A rank's segments of one sum, and all ranks': PeerSum.
  struct Segments {
    const float* segments;
    std::int64_t stride;
    std::int32_t first, own, all;
    const std::int32_t* merges;
  };

  PeerChannels() = default;
  // Collective over the ranks of `exchange`, with equal layouts. No channels where the layout has
  // none, or the exchange has no peer memory. Both must outlive it.
  PeerChannels(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange,
               const kernels::cuda::PeerLayout& layout);
  // What it takes of a rank's device.
  static std::size_t device_bytes(const kernels::cuda::PeerLayout& layout);

  std::int32_t rows() const { return layout_.rows; }  // 0: no channels

  // What a kernel is to be told of a sum. `what` names it in errors. REQUIRES: rows() > 0.
  kernels::cuda::PeerSum sum(const Segments& segments, std::string_view what);

  // Throws CollectiveTimeout when a kernel has given up: which rank, in which sum.
  void check() const;

 private:
  // The number of a sum in the words that kernels leave, and its name.
  std::int32_t number_of(std::string_view what);
  const std::string& name_of(std::int32_t number) const;
  std::uint64_t* failures() const { return static_cast<std::uint64_t*>(failures_.data()); }

  kernels::cuda::PeerLayout layout_;
  comm::PeerMemory memory_;
  int rank_ = 0;
  kernels::device::Allocation failures_;
  std::map<std::string, std::int32_t, std::less<>> numbers_;  // of sums, by their names
};

}  // namespace lockstep::shard
