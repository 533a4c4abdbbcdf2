#include "comm/cuda/ipc_memory.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/status.h"

namespace lockstep::comm::cuda {
namespace {

using kernels::cuda::check;
using kernels::cuda::Device;

// Plain bytes of every rank.
template <class T>
std::vector<T> of_all(Communicator& ranks, const T& mine, std::string_view what) {
  std::vector<T> all(static_cast<std::size_t>(ranks.size()));
  const std::vector<std::size_t> counts(all.size(), sizeof mine);
  ranks.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)),
                   counts, what);
  return all;
}

using Text = std::array<char, 256>;  // ends with a 0; longer ones are cut

Text to_text(const std::string& text) {
  Text result{};
  text.copy(result.data(), result.size() - 1);
  return result;
}

// Why the device cannot use the memory of another, as far as CUDA tells: a device that this process
// does not see it may still reach.
std::string obstacle_between(const Device& device, const std::string& other) {
  if (other == device.description().pci_bus_id) return "";
  int ordinal = 0, can = 0;
  if (cudaDeviceGetByPCIBusId(&ordinal, other.c_str()) != cudaSuccess) {
    cudaGetLastError();
    return "";
  }
  check(cudaDeviceCanAccessPeer(&can, device.ordinal(), ordinal), "cudaDeviceCanAccessPeer",
        device);
  return can != 0 ? "" : device.name() + " has no access to the memory of the GPU " + other;
}

// What rank `from` writes to rank `to`.
std::uint32_t mark(int from, int to) {
  return 0x10000u + 0x100u * static_cast<unsigned>(from) + static_cast<unsigned>(to);
}

}  // namespace

template <class Part>
void IpcMemory::together(const char* what, Part part) {
  std::string failure;
  try {
    part();
  } catch (const CollectiveTimeout&) {
    throw;
  } catch (const Error& error) {
    failure = error.what();
  }
  const std::vector<Text> failures = of_all(ranks_, to_text(failure), what);
  if (!failure.empty()) throw Error(failure);  // whole
  for (const Text& text : failures) {
    if (text[0] != '\0') throw Error(text.data());
  }
}

IpcMemory::IpcMemory(Communicator& ranks, int first_rank, kernels::cuda::DevicePool& pool,
                     const std::string& label, std::size_t bytes)
    : ranks_(ranks),
      first_rank_(first_rank),
      device_(pool.device()),
      exceptions_(std::uncaught_exceptions()) {
  try {
    const std::vector<Text> devices =
        of_all(ranks, to_text(device_.description().pci_bus_id), "the GPUs of all ranks");
    together("peers' access", [&] {
      for (const Text& other : devices) {
        const std::string obstacle = obstacle_between(device_, other.data());
        if (!obstacle.empty()) throw Error(obstacle);
      }
    });
    cudaIpcMemHandle_t handle{};
    together("peers' memory", [&] {
      own_ = pool.allocate(label, whole_peer_memory(bytes));
      check(cudaMemset(own_.data(), 0, own_.size()), "cudaMemset", device_);
      device_.synchronize();
      check(cudaIpcGetMemHandle(&handle, own_.data()), "cudaIpcGetMemHandle", device_);
    });
    const auto handles = of_all(ranks, handle, "handles of peers' memory");
    together("opening peers' memory", [&] { open(handles); });
    prove();
  } catch (...) {
    let_go();
    throw;
  }
}

void IpcMemory::open(const std::vector<cudaIpcMemHandle_t>& handles) {
  for (std::size_t rank = 0; rank < handles.size(); ++rank) {
    void* memory = own_.data();
    if (rank != static_cast<std::size_t>(ranks_.rank())) {
      const std::string call = "cudaIpcOpenMemHandle of " + name_of(rank) + "'s memory";
      check(cudaIpcOpenMemHandle(&memory, handles[rank], cudaIpcMemLazyEnablePeerAccess),
            call.c_str(), device_);
      opened_.emplace_back(memory);
    }
    of_ranks_.push_back(static_cast<std::byte*>(memory));
  }
}

// What a rank writes into another's memory must come there: on some machines it does not, and
// nothing says so.
void IpcMemory::prove() {
  const auto ranks = static_cast<std::size_t>(ranks_.size());
  const int rank = ranks_.rank();
  together("writing to peers' memory", [&] {
    for (std::size_t to = 0; to < ranks; ++to) {
      const std::uint32_t word = mark(rank, static_cast<int>(to));
      check(cudaMemcpy(of_ranks_[to] + static_cast<std::size_t>(rank) * sizeof word, &word,
                       sizeof word, cudaMemcpyDefault),
            "cudaMemcpy to a peer", device_);
    }
    device_.synchronize();
  });
  together("reading what peers wrote", [&] {
    std::vector<std::uint32_t> words(ranks);
    check(cudaMemcpy(words.data(), own_.data(), ranks * sizeof(std::uint32_t), cudaMemcpyDefault),
          "cudaMemcpy of what peers wrote", device_);
    for (std::size_t from = 0; from < ranks; ++from) {
      if (words[from] == mark(static_cast<int>(from), rank)) continue;
      throw Error(device_.name() + ": what " + name_of(from) +
                  " has written into its memory did not come");
    }
    check(cudaMemset(own_.data(), 0, own_.size()), "cudaMemset", device_);
    device_.synchronize();
  });
}

std::string IpcMemory::name_of(std::size_t rank) const {
  return "rank " + std::to_string(first_rank_ + static_cast<int>(rank));
}

void IpcMemory::let_go() {
  opened_.clear();
  try {
    ranks_.barrier("letting go of peers' memory");
  } catch (const std::exception&) {
    leave();
  }
}

// Others may still write to it.
void IpcMemory::leave() { new kernels::device::Allocation(std::move(own_)); }

IpcMemory::~IpcMemory() { std::uncaught_exceptions() == exceptions_ ? let_go() : leave(); }

std::string IpcMemory::obstacle(Communicator& ranks, int first_rank,
                                kernels::cuda::DevicePool& pool) {
  try {
    const IpcMemory tried(ranks, first_rank, pool, "a try of peers' memory", 1);
    return "";
  } catch (const CollectiveTimeout&) {
    throw;
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace lockstep::comm::cuda
