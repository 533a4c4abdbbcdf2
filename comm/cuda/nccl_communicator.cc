#include "comm/cuda/nccl_communicator.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/nccl_status.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/full_stop.h"
#include "kernels/cuda/memory_pool.h"

namespace lockstep::comm::cuda {
namespace {

using kernels::cuda::Stream;

// The first with symmetric windows. A library older than this build's nccl.h may be found at run
// time.
constexpr int kOldestVersion = NCCL_VERSION(2, 27, 0);
// From the one version until the other its kernels for symmetric memory ask to begin before earlier
// kernels have ended, and do not wait for them (NVIDIA/nccl, commit 2948185d: "accidentally left
// out").
constexpr int kFirstThatDoesNotWait = NCCL_VERSION(2, 28, 0),
              kFirstThatWaits = NCCL_VERSION(2, 30, 7);
constexpr int kPollsBeforeYield = 100;
constexpr std::chrono::microseconds kPauseOfSlowPolls{100};

int library_version() {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "ncclGetVersion", "NCCL");
  return version;
}

std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

bool does_not_wait() {
  static const int version = library_version();
  return version >= kFirstThatDoesNotWait && version < kFirstThatWaits;
}

void require_counts(bool hold, std::string_view what, const char* rule) {
  if (!hold) throw Error("collective '" + std::string(what) + "': " + rule);
}

bool all_equal(std::span<const std::size_t> counts) {
  return std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to()) == counts.end();
}

}  // namespace

std::string NcclCommunicator::make_id() {
  ncclUniqueId id;
  check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId", "NCCL");
  return {id.internal, sizeof id.internal};
}

NcclCommunicator::NcclCommunicator(const MpiEnvironment& environment,
                                   const kernels::cuda::Device& device, const NcclOptions& options)
    : NcclCommunicator(environment.broadcast(environment.rank() == 0 ? make_id() : ""),
                       environment.rank(), environment.size(), device, options) {}

NcclCommunicator::NcclCommunicator(const std::string& id, int rank, int size,
                                   const kernels::cuda::Device& device, const NcclOptions& options)
    : rank_(rank),
      size_(size),
      device_(device),
      deadline_(options.deadline),
      exceptions_(std::uncaught_exceptions()) {
  if (options.deadline.count() <= 0) throw Error("nccl: the deadline must be positive");
  if (const int version = library_version(); version < kOldestVersion) {
    throw Error("nccl: the library is " + version_text(version) + ", " +
                version_text(kOldestVersion) + " or newer is needed");
  }
  if (size == 1) return;
  try {
    deadline_ = std::max(options.start, options.deadline);
    connect(id);
    open_connections();
    deadline_ = options.deadline;
  } catch (...) {
    abort();  // no destructor runs for an object that was not made
    throw;
  }
}

void NcclCommunicator::connect(const std::string& id) {
  ncclUniqueId unique;
  if (id.size() != sizeof unique.internal) {
    throw Error("nccl: the id has " + std::to_string(id.size()) + " bytes, not " +
                std::to_string(sizeof unique.internal));
  }
  std::memcpy(unique.internal, id.data(), id.size());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  device_.bind_thread();
  const Operation operation = begin("start");
  require(ncclCommInitRankConfig(&communicator_, size_, unique, rank_, &config),
          "ncclCommInitRankConfig", operation);
  settle("ncclCommInitRankConfig", operation);
}

// A word between each pair, both by send and receive and by all-gather, which connect apart.
void NcclCommunicator::open_connections() {
  const auto ranks = static_cast<std::size_t>(size_);
  kernels::cuda::DevicePool pool(device_);
  const kernels::cuda::DeviceBuffer<std::byte> words(pool, "NCCL's first words", 16 * ranks);
  kernels::cuda::DeviceBuffer<std::byte> received(pool, "NCCL's first words", 16 * ranks);
  const Stream stream(device_);
  const std::vector<std::size_t> counts(ranks, 16);
  all_to_all(words.data(), counts, received.data(), counts, stream, "opening connections");
  all_gather(words.data(), received.data(), counts, stream, "opening connections");
  wait(stream, "opening connections");
}

NcclCommunicator::~NcclCommunicator() {
  if (communicator_ == nullptr) return;
  // Finalizing is collective: not while an exception says that others may be gone.
  if (std::uncaught_exceptions() != exceptions_) {
    abort();
    return;
  }
  try {
    const Operation operation = begin("end");
    require(ncclCommFinalize(communicator_), "ncclCommFinalize", operation);
    settle("ncclCommFinalize", operation);
    ncclCommDestroy(communicator_);
  } catch (const std::exception&) {
    abort();  // the others are gone, and there is nothing left to do with them
  }
}

// NCCL tells its kernels to end at once, and then waits for all graphs that hold the communicator:
// whoever has these has to hear of it first.
void NcclCommunicator::abort() noexcept {
  broken_ = true;
  if (communicator_ == nullptr) return;
  aborting_ = std::jthread(ncclCommAbort, communicator_);
  communicator_ = nullptr;
}

std::string NcclCommunicator::name() const { return "nccl " + version_text(library_version()); }

NcclCommunicator::Operation NcclCommunicator::begin(std::string_view what) {
  if (broken_) {
    throw Error(device_.name() + ": '" + std::string(what) +
                "': an earlier collective failed, this communicator is of no use");
  }
  return {what, ++operations_, Clock::now() + deadline_};
}

std::string NcclCommunicator::describe(const Operation& operation) const {
  return device_.name() + ", in '" + std::string(operation.what) + "' (operation " +
         std::to_string(operation.number) + ")";
}

void NcclCommunicator::require(ncclResult_t result, const char* call, const Operation& operation) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  const std::string text = nccl_error_text(result, communicator_);
  abort();
  throw Error(describe(operation) + ": " + call + ": " + text);
}

ncclResult_t NcclCommunicator::async_result(const Operation& operation) {
  ncclResult_t result = ncclSuccess;
  require(ncclCommGetAsyncError(communicator_, &result), "ncclCommGetAsyncError", operation);
  return result;
}

void NcclCommunicator::settle(const char* call, const Operation& operation) {
  for (int polls = 1;; ++polls) {
    const ncclResult_t result = async_result(operation);
    require(result, call, operation);
    if (result == ncclSuccess) return;
    if (Clock::now() > operation.deadline) {
      abort();
      throw CollectiveTimeout(describe(operation) + ": " + call + " is not through within " +
                                  std::to_string(deadline_.count()) +
                                  " ms: a rank did not come, or cannot be reached",
                              {});
    }
    // The first polls are for what takes microseconds, the later for a start, which takes seconds.
    if (polls > kPollsBeforeYield) std::this_thread::sleep_for(kPauseOfSlowPolls);
  }
}

bool NcclCommunicator::make_window(void* memory, std::size_t bytes) {
  if (communicator_ == nullptr && !broken_) return false;
  const Operation operation = begin("making a window");
  ncclWindow_t& window = windows_[memory];
  require(ncclCommWindowRegister(communicator_, memory, bytes, &window, NCCL_WIN_COLL_SYMMETRIC),
          "ncclCommWindowRegister", operation);
  settle("ncclCommWindowRegister", operation);
  return window != nullptr && tells_of_windows();
}

bool NcclCommunicator::tells_of_windows() { return library_version() >= NCCL_VERSION(2, 29, 0); }

void NcclCommunicator::end_window(void* memory) noexcept {
  const auto window = windows_.find(memory);
  if (window == windows_.end()) return;
  // An aborted communicator has taken its windows along.
  if (communicator_ != nullptr && window->second != nullptr) {
    ncclCommWindowDeregister(communicator_, window->second);
  }
  windows_.erase(window);
}

void NcclCommunicator::wait(const Stream& stream, std::string_view what,
                            const std::function<bool()>& look) {
  wait_until([&stream] { return stream.idle(); }, what, look);
}

void NcclCommunicator::wait_until(const std::function<bool()>& done, std::string_view what,
                                  const std::function<bool()>& look) {
  Operation operation = begin(what);
  const auto look_around = [&] {
    try {
      if (look()) operation.deadline = Clock::now() + deadline_;
    } catch (...) {
      abort();
      throw;
    }
  };
  for (int polls = 1; !done(); ++polls) {
    if (communicator_ != nullptr) require(async_result(operation), "NCCL", operation);
    if (polls % kPollsBeforeYield != 0) continue;
    look_around();
    if (Clock::now() > operation.deadline) {
      abort();
      throw CollectiveTimeout(describe(operation) + ": the device is not done within " +
                                  std::to_string(deadline_.count()) +
                                  " ms: a rank did not come, or a kernel hangs",
                              {});
    }
    sched_yield();
  }
  look_around();
  // A rank that left may have set free what waited for it, with an error.
  if (communicator_ != nullptr) require(async_result(operation), "NCCL", operation);
}

// `mine` is sent to everyone, or lies at its place already.
void NcclCommunicator::all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                                  const Stream& stream, std::string_view what) {
  const auto rank = static_cast<std::size_t>(rank_);
  require_counts(counts.size() == static_cast<std::size_t>(size_), what,
                 "one count per rank is needed");
  const Operation operation = begin(what);
  if (communicator_ != nullptr && all_equal(counts)) {
    if (counts[rank] == 0) return;
    if (!windows_.empty() && does_not_wait()) kernels::cuda::launch_full_stop(stream.get());
    require(ncclAllGather(mine, all, counts[rank], ncclUint8, communicator_, stream.get()),
            "ncclAllGather", operation);
    return settle("ncclAllGather", operation);
  }
  std::vector<Piece> pieces;
  auto* to = static_cast<std::byte*>(all);
  for (const std::size_t count : counts) {
    pieces.push_back({static_cast<const std::byte*>(mine), counts[rank], to, count});
    to += count;
  }
  exchange(pieces, stream, operation);
}

void NcclCommunicator::all_to_all(const void* send, std::span<const std::size_t> send_counts,
                                  void* received, std::span<const std::size_t> receive_counts,
                                  const Stream& stream, std::string_view what) {
  const auto ranks = static_cast<std::size_t>(size_);
  const auto rank = static_cast<std::size_t>(rank_);
  require_counts(send_counts.size() == ranks && receive_counts.size() == ranks, what,
                 "one count per rank is needed");
  require_counts(send_counts[rank] == receive_counts[rank], what,
                 "the counts of this rank for itself differ");
  const Operation operation = begin(what);
  std::vector<Piece> pieces;
  const auto* from = static_cast<const std::byte*>(send);
  auto* to = static_cast<std::byte*>(received);
  for (std::size_t peer = 0; peer < ranks; ++peer) {
    pieces.push_back({from, send_counts[peer], to, receive_counts[peer]});
    from += send_counts[peer];
    to += receive_counts[peer];
  }
  exchange(pieces, stream, operation);
}

void NcclCommunicator::exchange(std::span<const Piece> pieces, const Stream& stream,
                                const Operation& operation) {
  const Piece& own = pieces[static_cast<std::size_t>(rank_)];
  if (own.from != own.to) {
    kernels::cuda::copy_on_device(own.to, own.from, own.send, stream, "a rank's own part");
  }
  if (communicator_ == nullptr) return;
  require(ncclGroupStart(), "ncclGroupStart", operation);
  // A group that was begun must be ended before anything else is done, an abort included.
  ncclResult_t result = ncclSuccess;
  const auto good = [&result] { return result == ncclSuccess || result == ncclInProgress; };
  for (int peer = 0; peer < size_ && good(); ++peer) {
    const Piece& piece = pieces[static_cast<std::size_t>(peer)];
    if (peer == rank_) continue;
    if (piece.send > 0) {
      result = ncclSend(piece.from, piece.send, ncclUint8, peer, communicator_, stream.get());
    }
    if (piece.receive > 0 && good()) {
      result = ncclRecv(piece.to, piece.receive, ncclUint8, peer, communicator_, stream.get());
    }
  }
  const ncclResult_t ended = ncclGroupEnd();
  require(result, "ncclSend or ncclRecv", operation);
  require(ended, "ncclGroupEnd", operation);
  settle("ncclGroupEnd", operation);
}

}  // namespace lockstep::comm::cuda
