#include "launch/kernel_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <vector>

namespace lockstep::launch {

using kernels::CpuFamily;

CpuFamily agree(std::span<const CpuFamily> fastest, int rank) {
  const CpuFamily mine = fastest[static_cast<std::size_t>(rank)];
  const bool all_have_amx =
      std::ranges::all_of(fastest, [](CpuFamily family) { return family == CpuFamily::amx; });
  return mine == CpuFamily::amx && !all_have_amx ? CpuFamily::avx512_bf16 : mine;
}

CpuFamily settle_family(const std::string& wanted, comm::Communicator& communicator) {
  const CpuFamily mine = kernels::select_family(wanted);
  std::vector<CpuFamily> all(static_cast<std::size_t>(communicator.size()));
  const std::vector<std::size_t> counts(all.size(), sizeof mine);
  communicator.all_gather(std::as_bytes(std::span(&mine, 1)),
                          std::as_writable_bytes(std::span(all)), counts, "settling the kernels");
  const CpuFamily agreed = agree(all, communicator.rank());
  if (agreed != mine) {
    spdlog::warn("rank {}: amx is not used, because not all ranks have it", communicator.rank());
  }
  return agreed;
}

}  // namespace lockstep::launch
