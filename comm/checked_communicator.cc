#include "comm/checked_communicator.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace lockstep::comm {
namespace {

void require(bool holds, std::string_view what, std::string_view rule) {
  if (!holds) throw Error("collective '" + std::string(what) + "': " + std::string(rule));
}

std::size_t sum(std::span<const std::size_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

std::string name_operation(std::string_view what, std::uint64_t number) {
  std::string text = "'";
  return text.append(what).append("' (operation ").append(std::to_string(number)).append(")");
}

}  // namespace

CheckedCommunicator::CheckedCommunicator(int rank, int size, std::chrono::milliseconds deadline,
                                         int first_rank)
    : rank_(rank), size_(size), deadline_(deadline), first_rank_(first_rank) {
  if (size < 1 || rank < 0 || rank >= size) {
    throw Error("communicator: rank " + std::to_string(rank) + " is not in a world of " +
                std::to_string(size));
  }
  if (deadline.count() <= 0) throw Error("communicator: the deadline must be positive");
}

template <class Body>
void CheckedCommunicator::run(std::string_view what, Body body) {
  require(!broken_, what, "an earlier collective failed, this communicator is of no use");
  const Clock::time_point start = Clock::now();
  const Operation operation{what, ++operations_, start + deadline_};
  broken_ = true;  // until it has come back
  body(operation);
  broken_ = false;
  time_spent_ += Clock::now() - start;
}

void CheckedCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                                     std::span<const std::size_t> counts, std::string_view what) {
  require(counts.size() == static_cast<std::size_t>(size_), what, "one count per rank is needed");
  require(mine.size() == counts[rank_], what, "this rank's bytes differ from its count");
  require(all.size() == sum(counts), what, "the receiving buffer differs from the sum of counts");
  run(what, [&](const Operation& operation) {
    if (size_ > 1) return gather(mine, all, counts, operation);
    if (!mine.empty()) std::memmove(all.data(), mine.data(), mine.size());
  });
}

void CheckedCommunicator::all_to_all(std::span<const std::byte> send,
                                     std::span<const std::size_t> send_counts,
                                     std::span<std::byte> received,
                                     std::span<const std::size_t> receive_counts,
                                     std::string_view what) {
  const auto ranks = static_cast<std::size_t>(size_);
  require(send_counts.size() == ranks && receive_counts.size() == ranks, what,
          "one count per rank is needed");
  require(send.size() == sum(send_counts), what, "the bytes to send differ from the sum of counts");
  require(received.size() == sum(receive_counts), what,
          "the receiving buffer differs from the sum of counts");
  require(send_counts[rank_] == receive_counts[rank_], what,
          "the counts of this rank for itself differ");
  run(what, [&](const Operation& operation) {
    if (size_ > 1) return exchange(send, send_counts, received, receive_counts, operation);
    if (!send.empty()) std::memmove(received.data(), send.data(), send.size());
  });
}

void CheckedCommunicator::barrier(std::string_view what) {
  const std::vector<std::size_t> nothing(size_, 0);
  all_gather({}, {}, nothing, what);
}

std::span<std::byte> CheckedCommunicator::shared_memory(std::size_t, std::string_view) {
  return {};
}

CollectiveTimeout CheckedCommunicator::timeout(const Operation& operation,
                                               const std::vector<MissingRank>& missing) const {
  std::string text;
  std::vector<int> ranks;
  for (const MissingRank& peer : missing) {
    if (!text.empty()) text += "; ";
    text += "rank " + std::to_string(first_rank_ + peer.rank);
    text += peer.ended ? " ended and did not arrive at " : " did not arrive at ";
    text += name_operation(operation.what, operation.number);
    if (!peer.ended) text += " within " + std::to_string(deadline_.count()) + " ms";
    if (peer.last_operation > 0) {
      text += "; it was last in " + name_operation(peer.last_what, peer.last_operation);
    }
    ranks.push_back(first_rank_ + peer.rank);
  }
  return CollectiveTimeout(text, std::move(ranks));
}

Error CheckedCommunicator::mismatch(const Operation& operation, int peer, std::size_t expected,
                                    std::size_t got) const {
  return Error("rank " + std::to_string(first_rank_ + peer) + " brought " + std::to_string(got) +
               " bytes to " + name_operation(operation.what, operation.number) + " where rank " +
               std::to_string(first_rank_ + rank_) + " expects " + std::to_string(expected));
}

}  // namespace lockstep::comm
