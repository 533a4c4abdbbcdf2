// Runs CUDA kernels on the CPU, block by block: the same source as on a GPU, with every thread of a
// block a fiber. Barriers and what crosses a warp are where threads take turns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <source_location>
#include <span>
#include <type_traits>
#include <vector>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/pack.h"
#include "kernels/half.h"
#include "tests/kernels/cuda/device_memory.h"

namespace lockstep::kernels::cuda {

class RunningBlock;

// Where threads wait for each other.
struct Meeting {
  // poll: for a word of another rank's; who waits there looks again and again.
  enum class Kind { barrier, warp_barrier, shuffle_xor, shuffle_down, matrix, poll } kind;
  int distance = 0;  // the mask or delta of a shuffle
  std::source_location where;
};

// The thread context on the CPU (kernels/cuda/gpu_thread.cuh says what its members do).
class FiberThread {
 public:
  using Where = std::source_location;

  FiberThread(RunningBlock& block, int index) : block_(block), index_(index) {}

  int index() const { return index_; }
  int lane() const { return index_ % kWarp; }
  int warp() const { return index_ / kWarp; }
  int count() const;
  int block_x() const;
  int block_y() const;
  int blocks_x() const;

  // Kernels run one after the other. Of one that waits itself the memory may want to know what it
  // touches before (DeviceMemory::require_waiting()).
  void begins_early() { waited_ = false; }
  void let_next_begin() {}
  void wait_for_earlier() { waited_ = true; }

  void sync(Where where = Where::current()) { meet_block({Meeting::Kind::barrier, 0, where}); }

  void sync_warp(Where where = Where::current()) {
    exchange(0, {Meeting::Kind::warp_barrier, 0, where});
  }

  template <class T>
  T shuffle_xor(T value, int mask, Where where = Where::current()) {
    const auto* all = exchange(value, {Meeting::Kind::shuffle_xor, mask, where});
    return taken<T>(all, lane() ^ mask);
  }
  template <class T>
  T shuffle_down(T value, int delta, Where where = Where::current()) {
    const auto* all = exchange(value, {Meeting::Kind::shuffle_down, delta, where});
    return taken<T>(all, lane() + delta < kWarp ? lane() + delta : lane());
  }

  template <class T>
  T* shared(std::int64_t byte_offset, std::int64_t count) {
    return reinterpret_cast<T*>(
        shared_bytes(byte_offset, count * std::int64_t{sizeof(T)}, alignof(T)));
  }

  void add_shared(std::uint64_t* to, std::uint64_t value) { *to += value; }

  template <class T>
  T load(const T* from) {
    check_load(from, sizeof(T), alignof(T));
    return *from;
  }
  // Other ranks see a store to their memory as late as they may: when it is released.
  template <class T>
  void store(T* to, const T& value) {
    if (check_store(to, sizeof(T), alignof(T))) {
      *to = value;
    } else {
      store_later(to, &value, sizeof(T));
    }
  }
  void store_release(std::uint64_t* to, std::uint64_t value);
  std::uint64_t load_acquire(const std::uint64_t* from, Where where = Where::current());
  std::uint64_t nanoseconds() const;
  // Copies are done when they are waited for, and not before.
  void copy_async(Pack<std::uint32_t, 4>* to, const Pack<std::uint32_t, 4>* from, bool there) {
    if (there) check_load(from, sizeof *from, alignof(Pack<std::uint32_t, 4>));
    copies_.push_back({to, there ? from : nullptr, copy_groups_});
  }
  void copy_async_once(Pack<std::uint32_t, 4>* to, const Pack<std::uint32_t, 4>* from, bool there) {
    copy_async(to, from, there);
  }
  void commit_copies() { ++copy_groups_; }
  template <int kLeft>
  void wait_copies() {
    finish_copies(copy_groups_ - kLeft);
  }

  void prefetch(const std::byte* from, std::uint32_t bytes) { check_load(from, bytes, 16); }

  // The sum of a row's products is rounded once. Matrix units of GPUs keep fewer bits (Fasi et al.,
  // "Numerical behavior of NVIDIA tensor cores", 2021): their bits are others.
  void multiply_add(Pack<float, 4>& sums, const Pack<std::uint32_t, 4>& a,
                    const Pack<std::uint32_t, 2>& b, Where where = Where::current());
  // By the warps themselves, each for its rows: kernels/cuda/warpgroup/thread.cuh.
  void publish_rows() {}
  template <int kPacks>
  void begin_rows(Pack<float, 4> (&)[kPacks]) {}
  void commit_rows() {}
  void keep(const Pack<std::uint32_t, 4>&) {}
  template <int kPacks>
  void finish_rows(Pack<float, 4> (&)[kPacks]) {}
  template <int kPacks>
  void multiply_rows(Pack<float, 4> (&sums)[kPacks], const Pack<std::uint32_t, 4>& a,
                     const std::byte* rows, int step, bool add = true) {
    for (int i = 0; i < kPacks; ++i) {
      if (!add) sums[i] = {};
      const int row = 8 * i + lane() / 4;
      Pack<std::uint32_t, 2> b;
      for (int half = 0; half < 2; ++half) {
        const int place = (2 * step + half) ^ row / 2 % 4;
        b[half] = reinterpret_cast<const std::uint32_t*>(rows + 64 * row + 16 * place)[lane() % 4];
      }
      multiply_add(sums[i], a, b);
    }
  }
  float from_half(std::uint32_t word) { return f16_to_float(static_cast<std::uint16_t>(word)); }
  std::uint32_t subtract_pair(std::uint32_t a, std::uint32_t b);
  std::uint32_t multiply_pair(std::uint32_t a, std::uint32_t b);

 private:
  static constexpr std::size_t kSlotBytes = 32;
  using Slot = std::array<std::byte, kSlotBytes>;
  friend class RunningBlock;

  template <class T>
  const Slot* exchange(const T& value, const Meeting& meeting) {
    static_assert(sizeof(T) <= kSlotBytes && std::is_trivially_copyable_v<T>);
    return meet_warp(&value, sizeof(T), meeting);
  }
  template <class T>
  static T taken(const Slot* all, int lane) {
    T value;
    std::memcpy(&value, all[lane].data(), sizeof(T));
    return value;
  }

  void meet_block(const Meeting& meeting);
  // Leaves a value with the warp; what all its lanes left.
  const Slot* meet_warp(const void* value, std::size_t size, const Meeting& meeting);
  std::byte* shared_bytes(std::int64_t offset, std::int64_t size, std::size_t alignment);
  void check_load(const void* from, std::size_t size, std::size_t alignment);
  // Whether the memory is this rank's own.
  bool check_store(const void* to, std::size_t size, std::size_t alignment);
  void store_later(void* to, const void* value, std::size_t size);

  struct Copy {
    Pack<std::uint32_t, 4>* to;
    const Pack<std::uint32_t, 4>* from;  // null: zeros
    int group;
  };
  // Does the copies of groups below `end`.
  void finish_copies(int end);

  RunningBlock& block_;
  int index_;
  std::deque<Copy> copies_;  // begun and not done
  int copy_groups_ = 0;
  bool waited_ = true;
};

// How often run_blocks() runs everything: once finds no races, and is fast.
enum class Runs { once, twice };

// Runs `kernel` for every thread of `grid` over `memory`: twice, with blocks and threads once from
// the first to the last and once from the last to the first, and with other bytes in shared memory
// to begin with. Throws Error if
//   - an access to memory is wrong (device_memory.h), or beyond the shared memory of the grid;
//   - threads wait for others that never come: at a barrier or in a shuffle, which are named;
//   - the two runs leave different bits: threads race, or read what nobody wrote.
// Leaves what the last run wrote. A kernel that waits for other ranks' words runs once, beside
// theirs on other threads of the process.
void run_blocks(DeviceMemory& memory, const Grid& grid,
                const std::function<void(FiberThread&)>& kernel, Runs runs = Runs::twice);

// A kernel's launch.
struct BlockLaunch {
  Grid grid;
  std::function<void(FiberThread&)> kernel;
};

// What one rank launches, one after the other.
struct RankLaunches {
  DeviceMemory* memory;
  std::vector<BlockLaunch> launches;
};

// Runs the launches of several ranks on the calling thread, in an order that `seed` draws: some
// rank has 1 to 64 turns, then another; in a turn one of its blocks goes on until its threads wait,
// for each other or for another rank's word, which takes a microsecond of their clock. Of a launch
// up to `resident` blocks run at the same time, begun in their order. Throws Error as run_blocks()
// does, but for races of which only bits could tell: runs with other seeds do.
void run_together(std::span<const RankLaunches> ranks, int resident, unsigned seed);

}  // namespace lockstep::kernels::cuda
