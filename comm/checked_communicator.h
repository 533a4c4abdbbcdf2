// What every body of Communicator shares: the arguments' checks, the numbering of operations, the
// clock, the case of one rank and the words of a timeout.
#pragma once

#include <cstdint>
#include <string>

#include "comm/communicator.h"

namespace lockstep::comm {

class CheckedCommunicator : public Communicator {
 public:
  int rank() const final { return rank_; }
  int size() const final { return size_; }
  std::chrono::nanoseconds time_spent() const final { return time_spent_; }

  // Each throws Error when the sizes contradict each other or an earlier call missed its deadline.
  // `mine` may lie at its own place in `all`; otherwise no two buffers may overlap.
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  std::span<const std::size_t> counts, std::string_view what) final;
  void all_to_all(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                  std::span<std::byte> received, std::span<const std::size_t> receive_counts,
                  std::string_view what) final;
  void barrier(std::string_view what) final;
  std::span<std::byte> shared_memory(std::size_t bytes, std::string_view what) override;

 protected:
  using Clock = std::chrono::steady_clock;

  // One call of one collective. Numbers count 1, 2, 3, ... and agree between ranks.
  struct Operation {
    std::string_view what;
    std::uint64_t number = 0;
    Clock::time_point deadline;
  };

  // A rank that did not come, and what is known of it. last_operation 0: nothing is known.
  struct MissingRank {
    int rank = 0;
    std::string last_what;
    std::uint64_t last_operation = 0;
    bool ended = false;  // it left for good, so that waiting longer had no point
  };

  // Errors name ranks of the replica, of which `first_rank` is rank 0 here. Throws Error unless
  // 0 <= rank < size and deadline > 0.
  CheckedCommunicator(int rank, int size, std::chrono::milliseconds deadline, int first_rank = 0);

  // The bodies' part: sizes are checked, and size() > 1.
  virtual void gather(std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const std::size_t> counts, const Operation& operation) = 0;
  virtual void exchange(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                        std::span<std::byte> received, std::span<const std::size_t> receive_counts,
                        const Operation& operation) = 0;

  // "rank 1 did not arrive at 'layer 12 mlp' (operation 3456) within 2000 ms; it was last in
  // 'layer 12 attention' (operation 3455)", for each missing rank.
  CollectiveTimeout timeout(const Operation& operation,
                            const std::vector<MissingRank>& missing) const;

  // The ranks' calls do not match: `peer` brought `got` bytes where this rank expects `expected`.
  Error mismatch(const Operation& operation, int peer, std::size_t expected, std::size_t got) const;

  std::chrono::milliseconds deadline() const { return deadline_; }
  int first_rank() const { return first_rank_; }

 private:
  // Numbers the call, times it, and remembers whether it failed.
  template <class Body>
  void run(std::string_view what, Body body);

  const int rank_;
  const int size_;
  const std::chrono::milliseconds deadline_;
  const int first_rank_;
  std::uint64_t operations_ = 0;
  std::chrono::nanoseconds time_spent_{0};
  bool broken_ = false;  // a call failed half-way: the ranks no longer agree where they are
};

}  // namespace lockstep::comm
