// The ranks of a pipeline's stages as threads, which exchange activations over real links.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "comm/communicator.h"
#include "comm/stage_link.h"
#include "shard/partition.h"
#include "shard/pipeline_place.h"

namespace lockstep::shard {

using StagedRank = std::function<void(comm::Communicator&, const PipelinePlace&)>;

namespace staged_ranks {

inline comm::PlanBusAddress link(int stage, int rank) {
  return {.endpoint = "inproc://" + std::to_string(stage) + "-" + std::to_string(rank),
          .epoch = 1,
          .token = "token"};
}

// One rank of stage `stage` of `stages`, which have `communicator.size()` ranks each.
inline void run(zmq::context_t& context, comm::Communicator& communicator, Range layers, int stage,
                int stages, const StagedRank& body) {
  constexpr std::chrono::milliseconds kDeadline{300000};
  constexpr std::size_t kMaxBytes = 16 << 20;
  const int rank = communicator.rank(), tp = communicator.size();
  std::optional<comm::StageOutlet> next;
  std::optional<comm::StageInlet> previous;
  if (stage + 1 < stages) {
    next.emplace(context, link(stage, rank), comm::StagePeer{(stage + 1) * tp + rank, kDeadline});
  }
  if (stage > 0) {
    previous.emplace(context, link(stage - 1, rank), stage * tp + rank,
                     comm::StagePeer{(stage - 1) * tp + rank, kDeadline}, kMaxBytes);
  }
  if (next) next->wait_for_inlet();
  body(communicator, {layers, previous ? &*previous : nullptr, next ? &*next : nullptr});
  communicator.barrier("end");
}

}  // namespace staged_ranks

// Runs `body` on `stages` times `tp` threads. Rethrows the first failure after all have ended.
inline void spawn_stages(const model::ModelConfig& config, int stages, int tp,
                         const StagedRank& body) {
  zmq::context_t context;
  const auto layers = pipeline_stages(config, stages);
  std::mutex mutex;
  std::exception_ptr failure;
  {
    std::vector<std::jthread> threads;
    for (int stage = 0; stage < stages; ++stage) {
      threads.emplace_back([&, stage] {
        try {
          comm::spawn_ranks(tp, std::chrono::seconds(300), [&](comm::Communicator& communicator) {
            staged_ranks::run(context, communicator, layers[static_cast<std::size_t>(stage)], stage,
                              stages, body);
          });
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!failure) failure = std::current_exception();
        }
      });
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace lockstep::shard
