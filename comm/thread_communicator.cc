// Ranks as threads of one process: the Communicator of the tests.
#include <array>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "comm/checked_communicator.h"
#include "kernels/aligned_buffer.h"

namespace lockstep::comm {
namespace {

// What one rank brings to one operation.
struct Contribution {
  std::vector<std::byte> bytes;
  std::vector<std::size_t> counts;  // bytes for each rank; a single one: the same bytes for all
};

// The ranks' meeting place.
//
// Invariant: contribution n of a rank lies in contributions[n % 2] and is read by the others only
// until they arrive at n + 1. A rank that has met the others at n may therefore overwrite n - 1.
struct Group {
  struct Member {
    std::array<Contribution, 2> contributions;
    std::uint64_t arrived = 0;  // the last operation this rank came to
    std::string what;
    bool ended = false;
  };

  explicit Group(int size) : members(size) {}

  std::mutex mutex;  // guards all but the contributions
  std::condition_variable changed;
  std::vector<Member> members;
  std::exception_ptr first_failure;
  std::vector<kernels::AlignedBuffer> shared;  // rank 0's thread alone adds to it
};

class ThreadCommunicator final : public CheckedCommunicator {
 public:
  ThreadCommunicator(Group& group, int rank, std::chrono::milliseconds deadline)
      : CheckedCommunicator(rank, static_cast<int>(group.members.size()), deadline),
        group_(group) {}

  std::string_view name() const override { return "threads"; }

  std::span<std::byte> shared_memory(std::size_t bytes, std::string_view what) override {
    if (size() == 1 || bytes == 0) return {};
    std::byte* data = nullptr;
    if (rank() == 0) {
      group_.shared.emplace_back(bytes);
      data = group_.shared.back().as<std::byte>();
    }
    std::vector<std::size_t> counts(size());
    counts[0] = sizeof data;
    const auto pointer = std::as_writable_bytes(std::span(&data, 1));
    all_gather(pointer.first(counts[rank()]), pointer, counts, what);
    return {data, bytes};
  }

 private:
  void gather(std::span<const std::byte> mine, std::span<std::byte> all,
              std::span<const std::size_t> counts, const Operation& operation) override {
    meet(mine, {&counts[rank()], 1}, operation);
    collect(all, counts, operation);
  }

  void exchange(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                std::span<std::byte> received, std::span<const std::size_t> receive_counts,
                const Operation& operation) override {
    meet(send, send_counts, operation);
    collect(received, receive_counts, operation);
  }

  // Lays down this rank's contribution and waits for all the others.
  void meet(std::span<const std::byte> bytes, std::span<const std::size_t> counts,
            const Operation& operation) {
    Group::Member& self = group_.members[rank()];
    Contribution& contribution = self.contributions[operation.number % 2];
    contribution.bytes.assign(bytes.begin(), bytes.end());
    contribution.counts.assign(counts.begin(), counts.end());

    std::unique_lock lock(group_.mutex);
    self.arrived = operation.number;
    self.what = operation.what;
    group_.changed.notify_all();
    std::vector<MissingRank> missing;
    const auto settled = [&] {
      missing = missing_at(operation.number);
      return missing.empty() || missing.front().ended;
    };
    group_.changed.wait_until(lock, operation.deadline, settled);
    if (!missing.empty()) throw timeout(operation, missing);
  }

  // The ranks that have not come yet; those that never will are named alone.
  std::vector<MissingRank> missing_at(std::uint64_t operation) const {
    std::vector<MissingRank> late, ended;
    for (int r = 0; r < size(); ++r) {
      const Group::Member& member = group_.members[r];
      if (member.arrived >= operation) continue;
      (member.ended ? ended : late).push_back({r, member.what, member.arrived, member.ended});
    }
    return ended.empty() ? late : ended;
  }

  void collect(std::span<std::byte> to, std::span<const std::size_t> counts,
               const Operation& operation) const {
    for (int r = 0; r < size(); ++r) {
      const Contribution& from = group_.members[r].contributions[operation.number % 2];
      const bool same_for_all = from.counts.size() == 1;
      std::size_t offset = 0;
      for (int before = 0; !same_for_all && before < rank(); ++before) {
        offset += from.counts[before];
      }
      const std::size_t count = from.counts[same_for_all ? 0 : rank()];
      if (count != counts[r]) throw mismatch(operation, r, counts[r], count);
      if (count > 0) std::memcpy(to.data(), from.bytes.data() + offset, count);
      to = to.subspan(count);
    }
  }

  Group& group_;
};

}  // namespace

void spawn_ranks(int world_size, std::chrono::milliseconds deadline,
                 const std::function<void(Communicator&)>& body) {
  if (world_size < 1) throw Error("spawn_ranks: a world has at least one rank");
  Group group(world_size);
  const auto run_rank = [&](int rank) {
    std::exception_ptr failure;
    try {
      ThreadCommunicator communicator(group, rank, deadline);
      body(communicator);
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(group.mutex);
    group.members[rank].ended = true;
    if (!group.first_failure) group.first_failure = failure;
    group.changed.notify_all();
  };
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world_size; ++rank) threads.emplace_back(run_rank, rank);
  }
  if (group.first_failure) std::rethrow_exception(group.first_failure);
}

}  // namespace lockstep::comm
