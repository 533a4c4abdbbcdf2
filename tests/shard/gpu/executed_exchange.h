// Collectives between executors in the place of GPUs.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/gpu_exchange.h"
#include "tests/kernels/cuda/executed_gpu.h"

namespace lockstep::shard {

// Collectives on the memory of executors.
class ExecutedExchange final : public comm::GpuExchange {
 public:
  ExecutedExchange(kernels::cuda::ExecutedGpu& gpu, comm::Communicator& communicator)
      : gpu_(gpu), communicator_(communicator) {}

  int rank() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }
  std::string_view name() const override { return "threads"; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                  std::string_view what) override {
    gpu_.put([this, mine, all, counts = std::vector(counts.begin(), counts.end()),
              what = std::string(what)] {
      const auto* first = static_cast<const std::byte*>(mine);
      const std::vector<std::byte> own(first, first + counts[static_cast<std::size_t>(rank())]);
      communicator_.all_gather(own, {static_cast<std::byte*>(all), sum(counts)}, counts, what);
      ++exchanges;
    });
  }
  void all_to_all(const void* send, std::span<const std::size_t> send_counts, void* received,
                  std::span<const std::size_t> receive_counts, std::string_view what) override {
    gpu_.put([this, send, received, sent = std::vector(send_counts.begin(), send_counts.end()),
              got = std::vector(receive_counts.begin(), receive_counts.end()),
              what = std::string(what)] {
      communicator_.all_to_all({static_cast<const std::byte*>(send), sum(sent)}, sent,
                               {static_cast<std::byte*>(received), sum(got)}, got, what);
      ++exchanges;
    });
  }
  void wait(std::string_view what) override {
    gpu_.synchronize(std::string(what).c_str());
    ++waits;
  }
  void wait(kernels::cuda::Mark& mark, std::string_view what) override {
    mark.wait(std::string(what).c_str());
    ++waits;
  }

  int exchanges = 0;
  int waits = 0;

 private:
  static std::size_t sum(const std::vector<std::size_t>& counts) {
    std::size_t all = 0;
    for (const std::size_t count : counts) all += count;
    return all;
  }
  kernels::cuda::ExecutedGpu& gpu_;
  comm::Communicator& communicator_;
};

}  // namespace lockstep::shard
