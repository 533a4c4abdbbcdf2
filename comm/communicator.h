// Collectives between the ranks of one replica, behind one interface. No reduction here: the
// order of a sum is the caller's (shard/lane_reduce.h), so that no library chooses it.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace lockstep::comm {

// A collective missed its deadline. The message names the missing ranks, the operation and how far
// they had got where the body can tell.
class CollectiveTimeout : public Error {
 public:
  CollectiveTimeout(const std::string& message, std::vector<int> missing_ranks)
      : Error(message), missing_ranks_(std::move(missing_ranks)) {}
  const std::vector<int>& missing_ranks() const { return missing_ranks_; }

 private:
  std::vector<int> missing_ranks_;
};

// One rank's end. All ranks call the same operations in the same order with matching sizes; one
// thread at a time per rank. Every call returns within the deadline or throws CollectiveTimeout,
// after which the communicator is of no use. `what` names the call in errors, e.g. "layer 12 mlp".
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view name() const = 0;  // "threads", "mpi", "shared memory"

  // Concatenates every rank's bytes in rank order into `all`, on every rank. counts[r] is the
  // number of bytes of rank r; mine.size() == counts[rank()]; all.size() == their sum.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                          std::span<const std::size_t> counts, std::string_view what) = 0;

  // Sends send[sum(send_counts[..r]) ...] to each rank r; receives into `received` in rank order.
  virtual void all_to_all(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                          std::span<std::byte> received,
                          std::span<const std::size_t> receive_counts, std::string_view what) = 0;

  virtual void barrier(std::string_view what) = 0;

  // Memory that all ranks read and write, as long as the communicator lives: the same `bytes`
  // zeroed bytes on every rank, aligned to a cache line. What a rank has written when it enters a
  // barrier, all read after it. Empty on every rank where ranks share no memory or the system has
  // none left.
  virtual std::span<std::byte> shared_memory(std::size_t bytes, std::string_view what) = 0;

  // Total time spent in calls so far, waiting included.
  virtual std::chrono::nanoseconds time_spent() const = 0;
};

// Runs `body` as `world_size` threads of this process, each with its own end of a communicator.
// Rethrows the first rank's exception after all have ended. For tests.
void spawn_ranks(int world_size, std::chrono::milliseconds deadline,
                 const std::function<void(Communicator&)>& body);

}  // namespace lockstep::comm
