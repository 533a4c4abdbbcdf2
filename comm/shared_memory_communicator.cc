#include "comm/shared_memory_communicator.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <thread>

#include "comm/shared_label.h"

namespace lockstep::comm {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::uint64_t kJoined = 1;  // the round in which a rank has mapped the segment
constexpr int kSpins = 300;           // about 10 us
constexpr int kYieldsPerClockReading = 16;

std::size_t round_up(std::size_t n) { return (n + kCacheLine - 1) / kCacheLine * kCacheLine; }

void relax() { __builtin_ia32_pause(); }

// What a rank says about itself. Zero bits are its initial state.
struct RankState {
  // The last round this rank has filled a slot for.
  //
  // Invariant: round n lies in slot n % 2, and a rank stamps n + 1 only after it has read all it
  // needs of round n. A rank that has seen all stamps >= n + 1 may therefore overwrite round n,
  // and it does so no earlier than in round n + 2.
  alignas(kCacheLine) std::atomic<std::uint64_t> stamp;
  alignas(kCacheLine) SharedLabel label;  // the operation it is in
};

// In front of each slot's payload.
struct SlotHeader {
  std::uint64_t operation;
  std::uint64_t lanes;
  std::uint64_t parts;  // rounds that this rank needs for the operation
  // std::uint64_t lane_bytes[lanes] follow
};

}  // namespace

// Layout: RankState[size], then for every rank its slots 0 and 1, each a SlotHeader with size
// lengths, rounded up to a cache line, and slot_bytes of payload.
class SharedMemoryCommunicator::Segment {
 public:
  Segment(const std::string& name, int rank, int size, std::size_t slot_bytes,
          std::chrono::steady_clock::time_point deadline)
      : slot_bytes_(slot_bytes),
        header_bytes_(round_up(sizeof(SlotHeader) + size * sizeof(std::uint64_t))),
        slots_at_(size * sizeof(RankState)),
        memory_(rank == 0 ? SharedMemory::create(name, total_bytes(size))
                          : SharedMemory::open(name, total_bytes(size), deadline)) {}

  RankState& state(int rank) const { return reinterpret_cast<RankState*>(memory_.data())[rank]; }
  SlotHeader& header(int rank, std::uint64_t round) const {
    return *reinterpret_cast<SlotHeader*>(slot(rank, round));
  }
  std::uint64_t* lane_bytes(int rank, std::uint64_t round) const {
    return reinterpret_cast<std::uint64_t*>(slot(rank, round) + sizeof(SlotHeader));
  }
  std::byte* payload(int rank, std::uint64_t round) const {
    return slot(rank, round) + header_bytes_;
  }
  // The most that one lane of `lanes` holds in one round.
  std::size_t lane_capacity(std::size_t lanes) const {
    return slot_bytes_ / lanes / kCacheLine * kCacheLine;
  }
  void remove_name() { memory_.remove_name(); }

 private:
  std::size_t total_bytes(int size) const {
    return slots_at_ + std::size_t{2} * size * (header_bytes_ + slot_bytes_);
  }
  std::byte* slot(int rank, std::uint64_t round) const {
    const std::size_t index = std::size_t{2} * rank + round % 2;
    return memory_.data() + slots_at_ + index * (header_bytes_ + slot_bytes_);
  }

  const std::size_t slot_bytes_;
  const std::size_t header_bytes_;
  const std::size_t slots_at_;
  SharedMemory memory_;
};

SharedMemoryCommunicator::SharedMemoryCommunicator(const std::string& name, int rank, int size,
                                                   std::chrono::milliseconds deadline,
                                                   std::size_t slot_bytes, int first_rank)
    : CheckedCommunicator(rank, size, deadline, first_rank),
      name_(name),
      spins_(static_cast<int>(std::thread::hardware_concurrency()) < size ? 0 : kSpins) {
  if (slot_bytes % kCacheLine != 0 || slot_bytes < kCacheLine * size) {
    throw Error("shared memory: slot_bytes is " + std::to_string(slot_bytes) +
                ", must be a multiple of 64 and at least 64 per rank");
  }
  if (size == 1) return;
  const Operation join{"joining the shared memory", 0, Clock::now() + deadline};
  segment_ = std::make_unique<Segment>(name, rank, size, slot_bytes, join.deadline);
  round_ = kJoined;
  segment_->state(rank).stamp.store(kJoined, std::memory_order_release);
  for (int peer = 0; peer < size; ++peer) wait_for(peer, join);
  segment_->remove_name();
}

SharedMemoryCommunicator::~SharedMemoryCommunicator() = default;

std::span<std::byte> SharedMemoryCommunicator::shared_memory(std::size_t bytes,
                                                             std::string_view what) {
  if (size() == 1 || bytes == 0) return {};
  const std::string name = name_ + "-" + std::to_string(pieces_.size());
  std::optional<SharedMemory> piece;
  if (rank() == 0) {
    try {
      piece = SharedMemory::create(name, bytes);
    } catch (const Error&) {
      // All ranks learn below that there is none.
    }
  }
  std::byte made{piece.has_value()};
  std::vector<std::size_t> counts(size());
  counts[0] = 1;
  all_gather({&made, counts[rank()]}, {&made, 1}, counts, what);
  if (made == std::byte{0}) return {};
  if (rank() != 0) piece = SharedMemory::open(name, bytes, Clock::now() + deadline());
  barrier(what);
  piece->remove_name();
  pieces_.push_back(std::move(*piece));
  return {pieces_.back().data(), bytes};
}

void SharedMemoryCommunicator::gather(std::span<const std::byte> mine, std::span<std::byte> all,
                                      std::span<const std::size_t> counts,
                                      const Operation& operation) {
  lanes_.assign(1, mine);
  to_.clear();
  for (const std::size_t count : counts) {
    to_.push_back(all.first(count));
    all = all.subspan(count);
  }
  transfer(lanes_, to_, operation);
  if (!mine.empty()) std::memmove(to_[rank()].data(), mine.data(), mine.size());
}

void SharedMemoryCommunicator::exchange(std::span<const std::byte> send,
                                        std::span<const std::size_t> send_counts,
                                        std::span<std::byte> received,
                                        std::span<const std::size_t> receive_counts,
                                        const Operation& operation) {
  lanes_.clear();
  to_.clear();
  for (int peer = 0; peer < size(); ++peer) {
    lanes_.push_back(send.first(send_counts[peer]));
    send = send.subspan(send_counts[peer]);
    to_.push_back(received.first(receive_counts[peer]));
    received = received.subspan(receive_counts[peer]);
  }
  const std::span<const std::byte> own = std::exchange(lanes_[rank()], {});
  if (!own.empty()) std::memcpy(to_[rank()].data(), own.data(), own.size());
  transfer(lanes_, to_, operation);
}

void SharedMemoryCommunicator::transfer(std::span<const std::span<const std::byte>> lanes,
                                        std::span<const std::span<std::byte>> to,
                                        const Operation& operation) {
  segment_->state(rank()).label.set(operation.what, operation.number, 0);
  const std::size_t capacity = segment_->lane_capacity(lanes.size());
  std::size_t parts = 1;
  for (const auto& lane : lanes) parts = std::max(parts, (lane.size() + capacity - 1) / capacity);
  std::size_t parts_of_all = parts;
  for (std::size_t part = 0; part < parts_of_all; ++part) {
    ++round_;
    publish(lanes, part, parts, operation);
    for (int step = 1; step < size(); ++step) {  // each begins with another, to spread the reading
      const int peer = (rank() + step) % size();
      wait_for(peer, operation);
      parts_of_all = std::max(parts_of_all, collect(peer, lanes.size(), to[peer], part, operation));
    }
  }
}

void SharedMemoryCommunicator::publish(std::span<const std::span<const std::byte>> lanes,
                                       std::size_t part, std::size_t parts,
                                       const Operation& operation) {
  segment_->header(rank(), round_) = {operation.number, lanes.size(), parts};
  const std::size_t capacity = segment_->lane_capacity(lanes.size());
  for (std::size_t l = 0; l < lanes.size(); ++l) {
    segment_->lane_bytes(rank(), round_)[l] = lanes[l].size();
    const std::size_t begin = std::min(part * capacity, lanes[l].size());
    const std::size_t count = std::min(capacity, lanes[l].size() - begin);
    if (count == 0) continue;
    std::memcpy(segment_->payload(rank(), round_) + l * capacity, lanes[l].data() + begin, count);
  }
  segment_->state(rank()).stamp.store(round_, std::memory_order_release);
}

std::size_t SharedMemoryCommunicator::collect(int peer, std::size_t lanes, std::span<std::byte> to,
                                              std::size_t part, const Operation& operation) const {
  const SlotHeader& header = segment_->header(peer, round_);
  if (header.operation != operation.number || header.lanes != lanes) {
    throw Error("rank " + std::to_string(first_rank() + peer) + " is in another collective than '" +
                std::string(operation.what) + "' (operation " + std::to_string(operation.number) +
                ") of rank " + std::to_string(first_rank() + rank()) + "; it is in '" +
                segment_->state(peer).label.get().text + "'");
  }
  const std::size_t lane = lanes == 1 ? 0 : rank();
  const std::size_t bytes = segment_->lane_bytes(peer, round_)[lane];
  if (bytes != to.size()) throw mismatch(operation, peer, to.size(), bytes);
  const std::size_t capacity = segment_->lane_capacity(lanes);
  const std::size_t begin = std::min(part * capacity, bytes);
  const std::size_t count = std::min(capacity, bytes - begin);
  if (count > 0) {
    std::memcpy(to.data() + begin, segment_->payload(peer, round_) + lane * capacity, count);
  }
  return header.parts;
}

void SharedMemoryCommunicator::wait_for(int peer, const Operation& operation) const {
  const std::atomic<std::uint64_t>& stamp = segment_->state(peer).stamp;
  for (int spin = 0; spin < spins_; ++spin) {
    if (stamp.load(std::memory_order_acquire) >= round_) return;
    relax();
  }
  for (int yields = 1; stamp.load(std::memory_order_acquire) < round_; ++yields) {
    sched_yield();
    if (yields % kYieldsPerClockReading == 0 && Clock::now() > operation.deadline) {
      const std::vector<MissingRank> late = missing();
      if (!late.empty()) throw timeout(operation, late);
    }
  }
}

std::vector<CheckedCommunicator::MissingRank> SharedMemoryCommunicator::missing() const {
  std::vector<MissingRank> late;
  for (int peer = 0; peer < size(); ++peer) {
    const RankState& state = segment_->state(peer);
    if (state.stamp.load(std::memory_order_acquire) >= round_) continue;
    const SharedLabel::Value label = state.label.get();
    late.push_back({peer, label.text, label.number});
  }
  return late;
}

}  // namespace lockstep::comm
