// Collectives between the GPUs of a replica, by NCCL: bytes are moved, and never reduced. The order
// of a sum is the caller's, as in comm/communicator.h.
#pragma once

#include <nccl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "comm/mpi_environment.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/stream.h"

namespace lockstep::comm::cuda {

struct NcclOptions {
  std::chrono::milliseconds deadline{10000};  // of every call, and of wait()
  // Of starting, if it is longer: NCCL looks for the ways between GPUs, which takes seconds.
  std::chrono::milliseconds start{60000};
};

// One rank's end. All ranks call the same operations in the same order with matching counts; one
// thread at a time per rank. Unlike Communicator's, operations are put on a stream and return at
// once, so that they can be part of a CUDA graph: whether the other ranks came shows in wait().
//
// NCCL's own calls never block here (config.blocking = 0): each is polled until it is through. When
// one fails or misses its deadline the communicator is aborted, which ends its kernels on the
// device; the error names this rank and its operation, and the communicator is of no use any more.
// NCCL starts a thread for every call that is not blocking: what happens at every step belongs in a
// graph, which pays for it once.
// NCCL does not say which rank is missing; CollectiveTimeout::missing_ranks() is empty.
class NcclCommunicator {
 public:
  // What ranks need to find each other: made on one, told to all.
  static std::string make_id();
  static constexpr std::size_t kIdBytes = sizeof(ncclUniqueId::internal);

  // Collective over all ranks of `environment`. `device` must outlive it. It also opens the
  // connections between all pairs, which NCCL would otherwise do in the first operations, in the
  // middle of a step or of a capture. Throws Error, or CollectiveTimeout when ranks do not come.
  NcclCommunicator(const MpiEnvironment& environment, const kernels::cuda::Device& device,
                   const NcclOptions& options);
  // The same for the ranks that were told `id`. REQUIRES: 0 <= rank < size.
  NcclCommunicator(const std::string& id, int rank, int size, const kernels::cuda::Device& device,
                   const NcclOptions& options);
  // Graphs that hold its operations must be gone: an abort waits for them without end. Waits for
  // the other ranks, within the deadline.
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  std::string name() const;  // "nccl 2.28.9"

  // Concatenates every rank's bytes in rank order into `all`, on every rank. counts[r] is the
  // number of bytes of rank r. `mine` may lie at its own place in `all`; else they may not overlap.
  // Device memory. `what` names the call in errors, e.g. "layer 12 mlp".
  void all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                  const kernels::cuda::Stream& stream, std::string_view what);

  // Sends send_counts[r] bytes to each rank r, which lie in `send` in rank order; receives into
  // `received` in rank order. Device memory; the two may not overlap.
  void all_to_all(const void* send, std::span<const std::size_t> send_counts, void* received,
                  std::span<const std::size_t> receive_counts, const kernels::cuda::Stream& stream,
                  std::string_view what);

  // Makes `bytes` from `memory` on, of ncclMemAlloc, a symmetric window (NCCL 2.27). Collective,
  // with equal sizes. False: NCCL makes none between these GPUs, or does not tell. After an error
  // NCCL may still look at the memory: it must not be freed.
  bool make_window(void* memory, std::size_t bytes);
  // Whether the library tells if it made a window. Before 2.29 it returns one also for memory that
  // it has only registered with this rank (NCCL_LOCAL_REGISTER).
  static bool tells_of_windows();
  // Not collective. No window there: does nothing.
  void end_window(void* memory) noexcept;

  // Returns when everything on the stream is done. Throws CollectiveTimeout when it is not within
  // the deadline, and Error when NCCL or the device says that something failed. `look` is called
  // meanwhile and in the end; what it throws ends the waiting, and the communicator. The deadline
  // begins anew when it returns true: the work has gone on.
  void wait(
      const kernels::cuda::Stream& stream, std::string_view what,
      const std::function<bool()>& look = [] { return false; });
  // The same for work of which `done` tells.
  void wait_until(
      const std::function<bool()>& done, std::string_view what,
      const std::function<bool()>& look = [] { return false; });

 private:
  using Clock = std::chrono::steady_clock;

  struct Operation {
    std::string_view what;
    std::uint64_t number = 0;
    Clock::time_point deadline;
  };

  Operation begin(std::string_view what);  // throws Error after a failure
  void connect(const std::string& id);
  void open_connections();
  // What this rank sends to one rank and receives from it, in bytes.
  struct Piece {
    const std::byte* from;
    std::size_t send;
    std::byte* to;
    std::size_t receive;
  };
  // One piece a rank.
  void exchange(std::span<const Piece> pieces, const kernels::cuda::Stream& stream,
                const Operation& operation);
  // Throws after an abort unless `result` is success or "in progress".
  void require(ncclResult_t result, const char* call, const Operation& operation);
  // Polls until NCCL has done what it was told by `call`; on the device it may still be under way.
  void settle(const char* call, const Operation& operation);
  // What NCCL reports of its background work.
  ncclResult_t async_result(const Operation& operation);
  void abort() noexcept;
  std::string describe(const Operation& operation) const;

  const int rank_;
  const int size_;
  const kernels::cuda::Device& device_;
  std::chrono::milliseconds deadline_;  // of what begins now
  const int exceptions_;                // under way when this object was made
  ncclComm_t communicator_ = nullptr;   // none in a world of one
  bool broken_ = false;
  std::uint64_t operations_ = 0;
  // NCCL writes to a window's place from a thread of its own, an abort's included: the places stay.
  std::map<void*, ncclWindow_t> windows_;
  std::jthread aborting_;  // since an operation failed
};

}  // namespace lockstep::comm::cuda
