// How GPUs make sums of few rows: ranks' kernels in each other's memory (kernels/cuda/peer_norm.h),
// or NCCL. The bits are the same; many rows are NCCL's in any case.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::comm {

// What `--all-reduce` asks for.
enum class AllReduce { automatic, peer, nccl };

// "auto", "peer" or "nccl". Throws Error naming these for anything else.
AllReduce all_reduce_of(std::string_view name);

struct AllReduceNeeds {
  int ranks = 1;  // that sum
  bool one_host = true;
  // Why they cannot use each other's memory, as far as was tried; "": they can.
  std::string obstacle = {};
};

// What is known before anything of a GPU is tried: "" where it may go.
std::string obstacle_to_peers(const AllReduceNeeds& needs);

struct AllReduceChoice {
  AllReduce path = AllReduce::nccl;  // peer or nccl
  std::string reason;                // a sentence for the log
};

// The same on all ranks that sum. Throws Error where kernels are asked for and there is an
// obstacle.
AllReduceChoice choose_all_reduce(AllReduce asked, const AllReduceNeeds& needs);

// What became of a wish for NCCL's symmetric windows.
struct WindowCount {
  int asked = 0;     // buffers of this rank that should be windows
  int made = 0;      // where it is told:
  bool told = true;  // NCCL before 2.29 does not tell a window from other registered memory

  // A sentence for the log; `all_made` says whether it is a good one.
  std::string text() const;
  bool all_made() const { return made == asked; }
  // "2/3", "?/3"
  std::string fraction() const;
};

}  // namespace lockstep::comm
