// Collectives on the memory of GPUs, in the order of the rank's other work there. Plain C++; the
// body is NCCL's (comm/cuda/nccl_exchange.h), in tests threads with memory of the host.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "kernels/cuda/gpu.h"

namespace lockstep::comm {

// One rank's end. All ranks call the same operations in the same order with matching counts.
// Operations are put in line and return at once, and may be part of a Recording; whether the other
// ranks came shows in wait(). Bytes are moved, and never reduced.
class GpuExchange {
 public:
  virtual ~GpuExchange() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view name() const = 0;

  // Concatenates every rank's bytes in rank order into `all`, on every rank. counts[r] is the
  // number of bytes of rank r. `mine` may lie at its own place in `all`; else they may not overlap.
  // `what` names the call in errors, e.g. "layer 12 mlp".
  virtual void all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                          std::string_view what) = 0;

  // Sends send_counts[r] bytes to each rank r, which lie in `send` in rank order; receives into
  // `received` in rank order. The two may not overlap.
  virtual void all_to_all(const void* send, std::span<const std::size_t> send_counts,
                          void* received, std::span<const std::size_t> receive_counts,
                          std::string_view what) = 0;

  // Returns when everything that this rank has put in line is done. Throws CollectiveTimeout when
  // it is not within the deadline, and Error when something failed.
  virtual void wait(std::string_view what) = 0;
  // The same for what is in line before `mark`.
  virtual void wait(kernels::cuda::Mark& mark, std::string_view what) = 0;
};

}  // namespace lockstep::comm
