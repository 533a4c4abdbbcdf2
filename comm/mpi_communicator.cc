#include "comm/mpi_communicator.h"

#include <mpi.h>
#include <sched.h>

#include <climits>
#include <cstring>
#include <set>

#include "comm/mpi_status.h"

namespace lockstep::comm {
namespace {

constexpr int kPollsBeforeYield = 100;
// Tags tell operations apart; MPI guarantees at least so many (MPI 3.1, section 8.1.2).
constexpr std::uint64_t kTags = 32767;

int message_length(std::size_t bytes) {
  if (bytes > INT_MAX) {
    throw Error("mpi: a message to one rank has " + std::to_string(bytes) +
                " bytes, the limit is " + std::to_string(INT_MAX));
  }
  return static_cast<int>(bytes);
}

}  // namespace

class MpiCommunicator::Group {
 public:
  explicit Group(RankGroup ranks) {
    check_mpi(MPI_Comm_split(MPI_COMM_WORLD, ranks.first, 0, &handle_), "MPI_Comm_split");
  }
  ~Group() {
    // Freeing is collective: not while an exception says that others may be gone.
    if (std::uncaught_exceptions() == exceptions_) MPI_Comm_free(&handle_);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  MPI_Comm handle() const { return handle_; }

 private:
  const int exceptions_ = std::uncaught_exceptions();
  MPI_Comm handle_ = MPI_COMM_NULL;
};

// Every message of one operation. What is not through when it goes is cancelled, so that a late
// message is not written to a buffer that is gone.
class MpiCommunicator::Requests {
 public:
  // Errors call rank 0 of the group `first_rank`.
  Requests(MPI_Comm group, std::uint64_t operation, int first_rank)
      : group_(group), tag_(static_cast<int>(operation % kTags)), first_rank_(first_rank) {}
  ~Requests() {
    for (MPI_Request& request : requests_) {
      if (request == MPI_REQUEST_NULL) continue;
      int done = 0;
      MPI_Cancel(&request);
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      if (!done) MPI_Request_free(&request);
    }
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;

  void receive(int peer, std::span<std::byte> to) {
    const int length = message_length(to.size());
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Irecv(to.data(), length, MPI_BYTE, peer, tag_, group_, &request), "MPI_Irecv");
    add(request, peer, static_cast<int>(to.size()));
  }

  void send(int peer, std::span<const std::byte> from) {
    const int length = message_length(from.size());
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Isend(from.data(), length, MPI_BYTE, peer, tag_, group_, &request), "MPI_Isend");
    add(request, peer, kSent);
  }

  struct Short {
    int peer;
    std::size_t expected;
    std::size_t got;
  };

  // Completes what it can without waiting. Throws Error when a message failed.
  void poll() {
    int count = 0;
    const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                                  done_.data(), statuses_.data());
    if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) check_mpi(code, "MPI_Testsome");
    for (int i = 0; i < count; ++i) {
      const int index = done_[i];
      if (code == MPI_ERR_IN_STATUS && statuses_[i].MPI_ERROR != MPI_SUCCESS) {
        throw Error("message with rank " + std::to_string(first_rank_ + peers_[index]) +
                    " failed: " + mpi_error_text(statuses_[i].MPI_ERROR));
      }
      int bytes = 0;
      MPI_Get_count(&statuses_[i], MPI_BYTE, &bytes);
      if (expected_[index] != kSent && bytes != expected_[index]) {
        too_short_.push_back({peers_[index], static_cast<std::size_t>(expected_[index]),
                              static_cast<std::size_t>(bytes)});
      }
      --open_;
    }
  }

  bool done() const { return open_ == 0; }
  // Messages that brought less than was expected.
  const std::vector<Short>& too_short() const { return too_short_; }

  // The peers of the messages that are not through.
  std::set<int> waiting_for() const {
    std::set<int> peers;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL) peers.insert(peers_[i]);
    }
    return peers;
  }

 private:
  static constexpr int kSent = -1;

  void add(MPI_Request request, int peer, int expected) {
    requests_.push_back(request);
    peers_.push_back(peer);
    expected_.push_back(expected);
    done_.resize(requests_.size());
    statuses_.resize(requests_.size());
    ++open_;
  }

  const MPI_Comm group_;
  const int tag_;
  const int first_rank_;
  int open_ = 0;
  std::vector<MPI_Request> requests_;  // MPI sets those that are through to MPI_REQUEST_NULL
  std::vector<int> peers_;
  std::vector<int> expected_;  // bytes to receive, or kSent
  std::vector<int> done_;
  std::vector<MPI_Status> statuses_;
  std::vector<Short> too_short_;
};

MpiCommunicator::MpiCommunicator(const MpiEnvironment& environment, RankGroup group,
                                 std::chrono::milliseconds deadline)
    : CheckedCommunicator(environment.rank() - group.first, group.size, deadline, group.first),
      group_(std::make_unique<Group>(group)) {}

MpiCommunicator::~MpiCommunicator() = default;

void MpiCommunicator::gather(std::span<const std::byte> mine, std::span<std::byte> all,
                             std::span<const std::size_t> counts, const Operation& operation) {
  Requests requests(group_->handle(), operation.number, first_rank());
  for (int peer = 0; peer < size(); ++peer) {
    const std::span<std::byte> to = all.first(counts[peer]);
    all = all.subspan(counts[peer]);
    if (peer != rank()) {
      requests.receive(peer, to);
    } else if (!mine.empty()) {
      std::memmove(to.data(), mine.data(), mine.size());
    }
  }
  for (int step = 1; step < size(); ++step) requests.send((rank() + step) % size(), mine);
  complete(requests, operation);
}

void MpiCommunicator::exchange(std::span<const std::byte> send,
                               std::span<const std::size_t> send_counts,
                               std::span<std::byte> received,
                               std::span<const std::size_t> receive_counts,
                               const Operation& operation) {
  Requests requests(group_->handle(), operation.number, first_rank());
  for (int peer = 0; peer < size(); ++peer) {
    const std::span<std::byte> to = received.first(receive_counts[peer]);
    received = received.subspan(receive_counts[peer]);
    const std::span<const std::byte> from = send.first(send_counts[peer]);
    send = send.subspan(send_counts[peer]);
    if (peer != rank()) {
      requests.receive(peer, to);
      requests.send(peer, from);
    } else if (!from.empty()) {
      std::memcpy(to.data(), from.data(), from.size());
    }
  }
  complete(requests, operation);
}

void MpiCommunicator::complete(Requests& requests, const Operation& operation) const {
  for (int polls = 1; !requests.done(); ++polls) {
    requests.poll();
    for (const auto& [peer, expected, got] : requests.too_short()) {
      throw mismatch(operation, peer, expected, got);
    }
    if (polls % kPollsBeforeYield != 0) continue;
    if (Clock::now() > operation.deadline && !requests.done()) {
      std::vector<MissingRank> missing;
      for (const int peer : requests.waiting_for()) missing.push_back({peer, "", 0});
      throw timeout(operation, missing);
    }
    sched_yield();
  }
}

}  // namespace lockstep::comm
