// Ranks as processes of one machine that share a piece of memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/checked_communicator.h"
#include "comm/shared_memory.h"

namespace lockstep::comm {

// One rank's end. Every rank owns two slots; operations are made of rounds, and in a round every
// rank fills one of its slots, stamps it, and copies what it needs from the others' slots. Longer
// messages take more rounds.
class SharedMemoryCommunicator final : public CheckedCommunicator {
 public:
  static constexpr std::size_t kDefaultSlotBytes = std::size_t{1} << 20;

  // Rank 0 creates the memory under `name` ("/" and a random token), the others wait for it. The
  // name is gone when rank 0's constructor returns: nothing is left behind, however a rank ends.
  // slot_bytes is the payload of one slot: a multiple of 64, at least 64 per rank. A world takes
  // 2 * size of them; containers often have no more than 64 MiB of shared memory. `first_rank`:
  // what the replica calls rank 0 of these (CheckedCommunicator). Throws Error, or
  // CollectiveTimeout naming the ranks that did not come within `deadline`.
  SharedMemoryCommunicator(const std::string& name, int rank, int size,
                           std::chrono::milliseconds deadline,
                           std::size_t slot_bytes = kDefaultSlotBytes, int first_rank = 0);
  ~SharedMemoryCommunicator() override;

  std::string_view name() const override { return "shared memory"; }
  std::span<std::byte> shared_memory(std::size_t bytes, std::string_view what) override;

 private:
  class Segment;

  void gather(std::span<const std::byte> mine, std::span<std::byte> all,
              std::span<const std::size_t> counts, const Operation& operation) override;
  void exchange(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                std::span<std::byte> received, std::span<const std::size_t> receive_counts,
                const Operation& operation) override;

  // A slot is divided into `lanes`: one that all peers read, or one per peer. Moves lanes[l] into
  // lane l of this rank's slots and every peer's bytes into to[peer], in as many rounds as the
  // longest lane of any rank needs.
  void transfer(std::span<const std::span<const std::byte>> lanes,
                std::span<const std::span<std::byte>> to, const Operation& operation);
  // Fills and stamps this rank's slot of the current round with part `part` of every lane.
  void publish(std::span<const std::span<const std::byte>> lanes, std::size_t part,
               std::size_t parts, const Operation& operation);
  // Copies part `part` of what `peer` has for this rank; returns how many parts the peer needs.
  std::size_t collect(int peer, std::size_t lanes, std::span<std::byte> to, std::size_t part,
                      const Operation& operation) const;
  void wait_for(int peer, const Operation& operation) const;
  std::vector<MissingRank> missing() const;

  const std::string name_;
  std::unique_ptr<Segment> segment_;  // none in a world of one
  std::vector<SharedMemory> pieces_;  // of shared_memory()
  std::uint64_t round_ = 0;
  const int spins_;  // before a waiting rank gives its core away
  std::vector<std::span<const std::byte>> lanes_;
  std::vector<std::span<std::byte>> to_;
};

}  // namespace lockstep::comm
