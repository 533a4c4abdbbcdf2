#include "tests/kernels/cuda/block_executor.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "kernels/half.h"
#include "tests/kernels/cuda/fiber.h"

namespace lockstep::kernels::cuda {
namespace {

bool same(const Meeting& a, const Meeting& b) {
  return a.kind == b.kind && a.distance == b.distance && a.where.line() == b.where.line() &&
         std::string_view(a.where.file_name()) == b.where.file_name();
}

std::string describe(const Meeting& meeting) {
  const char* kinds[] = {"a barrier",    "a barrier of its warp", "shuffle_xor",
                         "shuffle_down", "a matrix product",      "another rank's word"};
  std::string text = kinds[static_cast<int>(meeting.kind)];
  if (meeting.distance != 0) text += " by " + std::to_string(meeting.distance);
  return "wait at " + text + " (" + meeting.where.file_name() + ":" +
         std::to_string(meeting.where.line()) + ")";
}

// The lower (0) or the upper (1) bf16 number of a word, and a word of two.
float half_of(std::uint32_t word, int which) {
  return bf16_to_float(static_cast<std::uint16_t>(word >> 16 * which));
}
std::uint32_t pair_of(float low, float high) {
  return float_to_bf16(low) | std::uint32_t{float_to_bf16(high)} << 16;
}

}  // namespace

// The threads of one block, and what they share.
class RunningBlock {
 public:
  // `clock`: in microseconds; null: the process's.
  RunningBlock(DeviceMemory& memory, const Grid& grid,
               const std::function<void(FiberThread&)>& kernel,
               const std::uint64_t* clock = nullptr)
      : memory_(memory),
        grid_(grid),
        clock_(clock),
        kernel_(kernel),
        shared_(static_cast<std::size_t>(grid.shared_bytes + kMargin) / sizeof(Line) + 1),
        threads_(static_cast<std::size_t>(grid.threads)),
        exchanges_(static_cast<std::size_t>(grid.threads / kWarp)) {}

  // Begins block `block` of the grid, with its threads in one order or the other.
  void start(std::uint32_t block, bool backwards) {
    block_ = block;
    backwards_ = backwards;
    const int filling = backwards ? 0x7f : 0xff;
    std::memset(static_cast<void*>(shared_.data()), filling, shared_.size() * sizeof(Line));
    for (std::size_t i = 0; i < threads_.size(); ++i) begin(i);
  }

  // Every thread that does not wait for another goes on until it does. Whether anything was done
  // but looking at words of other ranks. REQUIRES: is_running().
  bool go_on() {
    bool moved = false;
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      Thread& thread = threads_[backwards_ ? threads_.size() - 1 - i : i];
      if (thread.finished || (thread.waits_at && !thread.polls())) continue;
      const bool polled = thread.polls();
      thread.waits_at.reset();
      thread.fiber.resume();
      moved |= !(polled && thread.polls());
      if (failure_) std::rethrow_exception(failure_);
    }
    if (running_ == 0) return finish();
    if (release()) return true;
    if (std::ranges::none_of(threads_, &Thread::polls)) throw Error(stuck());
    return moved;
  }
  bool is_running() const { return running_ > 0; }

  // Runs block `block` to its end.
  void run(std::uint32_t block, bool backwards) {
    start(block, backwards);
    while (is_running()) {
      if (!go_on()) sched_yield();  // the other rank is another thread
    }
  }

  const Grid& grid() const { return grid_; }
  std::uint32_t block() const { return block_; }
  DeviceMemory& memory() { return memory_; }
  std::uint64_t nanoseconds() const {
    if (clock_ != nullptr) return 1000 * *clock_;
    const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(now.count());
  }

  std::byte* shared_bytes(std::int64_t offset, std::int64_t size, std::size_t alignment) {
    if (offset < 0 || size < 0 || offset + size > grid_.shared_bytes) {
      throw Error("shared memory [" + std::to_string(offset) + ", " +
                  std::to_string(offset + size) + ") of a block that has " +
                  std::to_string(grid_.shared_bytes) + " bytes");
    }
    if (static_cast<std::size_t>(offset) % alignment != 0) {
      throw Error("shared memory at " + std::to_string(offset) + ": not aligned to " +
                  std::to_string(alignment));
    }
    return reinterpret_cast<std::byte*>(shared_.data()) + offset;
  }

  // A store that other ranks see when this thread releases it, or after the block's next barrier
  // whoever of the block releases.
  void store_later(int thread, void* to, const void* value, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(value);
    threads_[static_cast<std::size_t>(thread)].stores.push_back({to, {bytes, bytes + size}});
  }
  void release_stores(int thread) {
    write(stores_);
    write(threads_[static_cast<std::size_t>(thread)].stores);
  }

  void meet(int thread, const Meeting& meeting) {
    Thread& self = threads_[static_cast<std::size_t>(thread)];
    self.waits_at = meeting;
    self.fiber.suspend();
  }

  // Two sets of slots in turn: nobody writes a set again before all lanes have met once more, and
  // so have read it.
  FiberThread::Slot* slots(int thread) {
    Thread& self = threads_[static_cast<std::size_t>(thread)];
    auto& exchange = exchanges_[static_cast<std::size_t>(thread / kWarp)];
    return exchange[self.meetings++ % 2].data();
  }

 private:
  static constexpr std::int64_t kMargin = 1024;  // behind the shared memory
  struct alignas(16) Line {
    std::byte bytes[16];
  };
  struct Store {
    void* to;
    std::vector<std::byte> bytes;
  };
  struct Thread {
    Fiber fiber;
    std::optional<FiberThread> context;  // not on the fiber's stack, which may be abandoned
    std::optional<Meeting> waits_at;
    bool finished = false;
    unsigned meetings = 0;  // of its warp
    std::vector<Store> stores = {};

    bool polls() const { return waits_at && waits_at->kind == Meeting::Kind::poll; }
  };
  using Exchange = std::array<std::array<FiberThread::Slot, kWarp>, 2>;

  void begin(std::size_t index) {
    Thread& thread = threads_[index];
    thread.waits_at.reset();
    thread.finished = false;
    thread.meetings = 0;
    thread.context.emplace(*this, static_cast<int>(index));
    ++running_;
    thread.fiber.start([this, index] {
      try {
        kernel_(*threads_[index].context);
      } catch (...) {
        failure_ = std::current_exception();
      }
      threads_[index].finished = true;
      --running_;
    });
  }

  // Lets go on whoever waits at a meeting that is complete; whether anybody does.
  bool release() {
    bool released = false;
    for (std::size_t warp = 0; warp < exchanges_.size(); ++warp) {
      const std::span lanes(threads_.data() + warp * kWarp, kWarp);
      const auto& first = lanes[0].waits_at;
      if (first && first->kind != Meeting::Kind::barrier && first->kind != Meeting::Kind::poll) {
        released |= release(lanes);
      }
    }
    if (threads_[0].waits_at && threads_[0].waits_at->kind == Meeting::Kind::barrier &&
        release(threads_)) {
      released = true;
      collect_stores();
    }
    return released;
  }

  void collect_stores() {
    for (Thread& thread : threads_) {
      std::ranges::move(thread.stores, std::back_inserter(stores_));
      thread.stores.clear();
    }
  }
  static void write(std::vector<Store>& stores) {
    for (const Store& store : stores)
      std::ranges::copy(store.bytes, static_cast<std::byte*>(store.to));
    stores.clear();
  }

  // The end of a block is the end of its launch as far as anybody can tell: all is written.
  bool finish() {
    collect_stores();
    write(stores_);
    check_margin(std::byte{static_cast<unsigned char>(backwards_ ? 0x7f : 0xff)});
    return true;
  }

  static bool release(std::span<Thread> threads) {
    const Meeting meeting = *threads[0].waits_at;
    const bool complete = std::ranges::all_of(threads, [&](const Thread& thread) {
      return thread.waits_at && same(*thread.waits_at, meeting);
    });
    if (complete) std::ranges::for_each(threads, [](Thread& thread) { thread.waits_at.reset(); });
    return complete;
  }

  void check_margin(std::byte filling) const {
    const std::span bytes(reinterpret_cast<const std::byte*>(shared_.data()),
                          shared_.size() * sizeof(Line));
    const auto margin = bytes.subspan(static_cast<std::size_t>(grid_.shared_bytes));
    if (std::ranges::any_of(margin, [filling](std::byte byte) { return byte != filling; })) {
      throw Error("block " + std::to_string(block_) + " writes beyond its shared memory of " +
                  std::to_string(grid_.shared_bytes) + " bytes");
    }
  }

  // Who waits for whom.
  std::string stuck() const {
    const auto state = [this](std::size_t i) {
      return threads_[i].finished ? std::string("have returned") : describe(*threads_[i].waits_at);
    };
    std::string text = "block " + std::to_string(block_) + " cannot go on:";
    for (std::size_t begin = 0, end; begin < threads_.size(); begin = end) {
      for (end = begin + 1; end < threads_.size() && state(end) == state(begin);) ++end;
      text += (begin > 0 ? "; threads " : " threads ") + std::to_string(begin) + " to " +
              std::to_string(end - 1) + " " + state(begin);
    }
    return text;
  }

  DeviceMemory& memory_;
  const Grid& grid_;
  const std::uint64_t* clock_;
  const std::function<void(FiberThread&)>& kernel_;
  std::vector<Line> shared_;
  std::vector<Thread> threads_;
  std::vector<Exchange> exchanges_;  // one a warp
  std::vector<Store> stores_;        // of all threads up to the last barrier, not released
  std::uint32_t block_ = 0;
  bool backwards_ = false;
  std::size_t running_ = 0;
  std::exception_ptr failure_;
};

std::uint64_t FiberThread::nanoseconds() const { return block_.nanoseconds(); }
int FiberThread::count() const { return block_.grid().threads; }
int FiberThread::block_x() const { return static_cast<int>(block_.block() % block_.grid().x); }
int FiberThread::block_y() const { return static_cast<int>(block_.block() / block_.grid().x); }
int FiberThread::blocks_x() const { return static_cast<int>(block_.grid().x); }

void FiberThread::meet_block(const Meeting& meeting) { block_.meet(index_, meeting); }

const FiberThread::Slot* FiberThread::meet_warp(const void* value, std::size_t size,
                                                const Meeting& meeting) {
  Slot* slots = block_.slots(index_);
  std::memcpy(slots[lane()].data(), value, size);
  block_.meet(index_, meeting);
  return slots;
}

void FiberThread::multiply_add(Pack<float, 4>& sums, const Pack<std::uint32_t, 4>& a,
                               const Pack<std::uint32_t, 2>& b, Where where) {
  struct Operands {
    std::uint32_t a[4], b[2];
  };
  const Operands own{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const auto* all = exchange(own, {Meeting::Kind::matrix, 0, where});
  for (int i = 0; i < 4; ++i) {
    const int row = lane() / 4, second = i / 2;  // row `row` or `row` + 8
    const int column = lane() % 4 * 2 + i % 2;
    double sum = sums[i];
    for (int k = 0; k < 16; ++k) {
      const int quarter = k % 8 / 2;
      const auto of_row = taken<Operands>(all, 4 * row + quarter);
      const auto of_column = taken<Operands>(all, 4 * column + quarter);
      sum += double{half_of(of_row.a[second + k / 8 * 2], k % 2)} *
             double{half_of(of_column.b[k / 8], k % 2)};
    }
    sums[i] = static_cast<float>(sum);
  }
}

std::uint32_t FiberThread::subtract_pair(std::uint32_t a, std::uint32_t b) {
  return pair_of(half_of(a, 0) - half_of(b, 0), half_of(a, 1) - half_of(b, 1));
}

std::uint32_t FiberThread::multiply_pair(std::uint32_t a, std::uint32_t b) {
  return pair_of(half_of(a, 0) * half_of(b, 0), half_of(a, 1) * half_of(b, 1));
}

std::byte* FiberThread::shared_bytes(std::int64_t offset, std::int64_t size,
                                     std::size_t alignment) {
  return block_.shared_bytes(offset, size, alignment);
}

void FiberThread::finish_copies(int end) {
  for (; !copies_.empty() && copies_.front().group < end; copies_.pop_front()) {
    const Copy& copy = copies_.front();
    *copy.to = copy.from != nullptr ? *copy.from : Pack<std::uint32_t, 4>{};
  }
}

void FiberThread::check_load(const void* from, std::size_t size, std::size_t alignment) {
  block_.memory().check_load(from, size, alignment, {block_.block(), index_, waited_});
}

bool FiberThread::check_store(const void* to, std::size_t size, std::size_t alignment) {
  return block_.memory().check_store(to, size, alignment, {block_.block(), index_, waited_});
}

void FiberThread::store_later(void* to, const void* value, std::size_t size) {
  block_.store_later(index_, to, value, size);
}

void FiberThread::store_release(std::uint64_t* to, std::uint64_t value) {
  check_store(to, sizeof value, alignof(std::uint64_t));
  block_.release_stores(index_);
  std::atomic_ref(*to).store(value, std::memory_order_release);
}

std::uint64_t FiberThread::load_acquire(const std::uint64_t* from, Where where) {
  check_load(from, sizeof *from, alignof(std::uint64_t));
  block_.meet(index_, {Meeting::Kind::poll, 0, where});
  return std::atomic_ref(*const_cast<std::uint64_t*>(from)).load(std::memory_order_acquire);
}

namespace {

void check_grid(const Grid& grid) {
  if (grid.threads < kWarp || grid.threads > 1024 || grid.threads % kWarp != 0) {
    throw Error("a block of " + std::to_string(grid.threads) + " threads");
  }
  if (grid.x < 0 || grid.x >> 31 != 0 || grid.y < 0 || grid.y >> 16 != 0) {
    throw Error("a grid of " + std::to_string(grid.x) + " by " + std::to_string(grid.y));
  }
  if (grid.shared_bytes < 0 || grid.shared_bytes > kMaxSharedBytes) {
    throw Error("blocks with " + std::to_string(grid.shared_bytes) + " bytes of shared memory");
  }
}

// One rank, in the middle of its launches.
class RunningRank {
 public:
  RunningRank(const RankLaunches& rank, int resident, const std::uint64_t& clock)
      : rank_(rank), resident_(resident), clock_(clock) {}

  bool done() const {
    return next_launch_ == rank_.launches.size() && next_block_ == blocks_ && running_.empty();
  }

  // Some block goes on.
  void go_on(std::mt19937& random) {
    if (running_.empty() && next_block_ == blocks_) begin_launch();
    const bool room = next_block_ < blocks_ && std::ssize(running_) < resident_;
    const std::size_t choices = running_.size() + (room ? 1 : 0);
    if (choices == 0) return;
    const std::size_t choice = random() % choices;
    if (choice == running_.size()) {
      const BlockLaunch& launch = rank_.launches[next_launch_ - 1];
      if (ended_.empty()) {
        ended_.push_back(
            std::make_unique<RunningBlock>(*rank_.memory, launch.grid, launch.kernel, &clock_));
      }
      running_.push_back(std::move(ended_.back()));
      ended_.pop_back();
      running_.back()->start(next_block_++, random() % 2 == 0);
    }
    running_[choice]->go_on();
    if (!running_[choice]->is_running()) {
      ended_.push_back(std::move(running_[choice]));
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(choice));
    }
  }

 private:
  void begin_launch() {
    const Grid& grid = rank_.launches[next_launch_++].grid;
    check_grid(grid);
    rank_.memory->begin_launch();
    ended_.clear();
    blocks_ = static_cast<std::uint32_t>(grid.x * grid.y);
    next_block_ = 0;
  }

  const RankLaunches& rank_;
  const int resident_;
  const std::uint64_t& clock_;
  std::size_t next_launch_ = 0;
  std::uint32_t blocks_ = 0, next_block_ = 0;  // of the launch
  std::vector<std::unique_ptr<RunningBlock>> running_;
  std::vector<std::unique_ptr<RunningBlock>> ended_;  // of the launch: to be begun again
};

}  // namespace

void run_together(std::span<const RankLaunches> ranks, int resident, unsigned seed) {
  std::mt19937 random(seed);
  std::uint64_t clock = 0;
  std::vector<std::unique_ptr<RunningRank>> running;
  for (const RankLaunches& rank : ranks) {
    running.push_back(std::make_unique<RunningRank>(rank, resident, clock));
  }
  while (true) {
    std::erase_if(running, [](const auto& rank) { return rank->done(); });
    if (running.empty()) return;
    RunningRank& rank = *running[random() % running.size()];
    // Often long enough to come a launch or two ahead of the others.
    for (unsigned turns = 1u << random() % 7; turns > 0 && !rank.done(); --turns, ++clock) {
      rank.go_on(random);
    }
  }
}

void run_blocks(DeviceMemory& memory, const Grid& grid,
                const std::function<void(FiberThread&)>& kernel, Runs runs) {
  check_grid(grid);
  const auto blocks = static_cast<std::uint32_t>(grid.x * grid.y);
  RunningBlock block(memory, grid, kernel);
  const auto before = runs == Runs::twice ? memory.snapshot() : std::vector<std::byte>{};
  memory.begin_launch();
  for (std::uint32_t i = 0; i < blocks; ++i) block.run(i, false);
  if (runs == Runs::once) return;
  const auto forwards = memory.snapshot();
  memory.restore(before);
  memory.begin_launch();
  for (std::uint32_t i = 0; i < blocks; ++i) block.run(blocks - 1 - i, true);
  if (memory.snapshot() != forwards) {
    throw Error("the order of the threads or of the blocks changes the result");
  }
}

}  // namespace lockstep::kernels::cuda
