#include "comm/all_reduce_choice.h"

#include "base/error.h"
#include "kernels/cuda/peer_norm.h"

namespace lockstep::comm {

AllReduce all_reduce_of(std::string_view name) {
  if (name == "auto") return AllReduce::automatic;
  if (name == "peer") return AllReduce::peer;
  if (name == "nccl") return AllReduce::nccl;
  throw Error("all-reduce '" + std::string(name) + "': it is auto, peer or nccl");
}

std::string obstacle_to_peers(const AllReduceNeeds& needs) {
  if (needs.ranks > kernels::cuda::kMaxPeers) {
    return std::to_string(needs.ranks) + " ranks are more than the " +
           std::to_string(kernels::cuda::kMaxPeers) + " that write to each other's memory";
  }
  if (!needs.one_host) return "the ranks are on several hosts";
  return needs.obstacle;
}

AllReduceChoice choose_all_reduce(AllReduce asked, const AllReduceNeeds& needs) {
  if (needs.ranks == 1) return {AllReduce::nccl, "sums between ranks: none, of one rank"};
  if (asked == AllReduce::nccl) return {AllReduce::nccl, "sums between ranks: NCCL, as asked for"};
  const std::string obstacle = obstacle_to_peers(needs);
  if (!obstacle.empty()) {
    if (asked == AllReduce::peer) throw Error("--all-reduce peer: " + obstacle);
    return {AllReduce::nccl, "sums between ranks: NCCL, for " + obstacle};
  }
  return {AllReduce::peer,
          "sums between ranks: of few rows by kernels in the memory of all " +
              std::to_string(needs.ranks) + " ranks, " +
              (asked == AllReduce::peer ? "as asked for" : "which reach each other's") +
              "; of more by NCCL"};
}

std::string WindowCount::text() const {
  if (asked == 0) return "NCCL's windows: none, of one rank";
  if (!told) return "NCCL's windows: " + fraction() + ", for NCCL tells from 2.29 on what it made";
  if (made == 0) {
    return "NCCL's windows: none, for NCCL makes none between these GPUs (NCCL_DEBUG=INFO says "
           "why)";
  }
  return "NCCL's windows: " + std::to_string(made) + " of " + std::to_string(asked) + " buffers";
}

std::string WindowCount::fraction() const {
  return (told || asked == 0 ? std::to_string(made) : "?") + "/" + std::to_string(asked);
}

}  // namespace lockstep::comm
