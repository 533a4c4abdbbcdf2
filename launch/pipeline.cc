#include "launch/pipeline.h"

#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/host_address.h"

namespace lockstep::launch {
namespace {

// What every rank has to say, on all ranks.
std::vector<std::string> gather_texts(comm::Communicator& world, const std::string& mine) {
  const auto ranks = static_cast<std::size_t>(world.size());
  const auto rank = static_cast<std::size_t>(world.rank());
  std::vector<std::size_t> lengths(ranks);
  lengths[rank] = mine.size();
  const std::vector<std::size_t> words(ranks, sizeof(std::size_t));
  const auto all_lengths = std::as_writable_bytes(std::span(lengths));
  world.all_gather(all_lengths.subspan(rank * sizeof(std::size_t), sizeof(std::size_t)),
                   all_lengths, words, "lengths of the stages' addresses");
  std::string all(std::accumulate(lengths.begin(), lengths.end(), std::size_t{0}), '\0');
  world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)), lengths,
                   "the stages' addresses");
  std::vector<std::string> texts;
  std::size_t at = 0;
  for (const std::size_t length : lengths) {
    texts.push_back(all.substr(at, length));
    at += length;
  }
  return texts;
}

}  // namespace

RankPlace place_in_pipeline(int rank, int world_size, int tp, int pp,
                            const model::ModelConfig& config) {
  const std::string started =
      "mpirun has started " + std::to_string(world_size) + (world_size == 1 ? " rank" : " ranks");
  if (world_size % pp != 0) {
    throw Error("pp is " + std::to_string(pp) + ": " + started +
                ", which cannot be cut in so many stages of equally many ranks");
  }
  const int stage_size = world_size / pp;
  if (tp > 0 && tp != stage_size) {
    throw Error("tp is " + std::to_string(tp) + (pp > 1 ? " and pp " + std::to_string(pp) : "") +
                ": " + started + ", and " + std::to_string(tp * pp) + " are needed");
  }
  const auto layers = shard::pipeline_stages(config, pp);
  const int stage = rank / stage_size;
  return {.stage_ranks = {stage * stage_size, stage_size},
          .stage = {stage, pp},
          .layers = layers[static_cast<std::size_t>(stage)]};
}

StageLinks::StageLinks(zmq::context_t& context, const comm::PlanBusAddress& bus,
                       const RankPlace& place, const comm::MpiEnvironment& mpi,
                       comm::Communicator& world, std::chrono::milliseconds deadline,
                       std::size_t max_bytes) {
  if (place.stage.count == 1) return;
  const bool sends = !place.stage.last();
  const int next = mpi.rank() + place.stage_ranks.size;
  const int previous = mpi.rank() - place.stage_ranks.size;
  comm::PlanBusAddress address = bus;
  std::optional<comm::PrivateDirectory> directory;
  if (sends) {
    address.endpoint = mpi.one_host({mpi.rank(), place.stage_ranks.size + 1})
                           ? directory.emplace().endpoint()
                           : "tcp://" + comm::address_for_other_hosts(mpi.host_name()) + ":*";
    outlet_.emplace(context, address, comm::StagePeer{next, deadline});
  }
  const auto endpoints = gather_texts(world, sends ? outlet_->endpoint() : "");
  if (place.stage.index > 0) {
    address.endpoint = endpoints[static_cast<std::size_t>(previous)];
    inlet_.emplace(context, address, mpi.rank(), comm::StagePeer{previous, deadline}, max_bytes);
  }
  if (sends) outlet_->wait_for_inlet();
}

}  // namespace lockstep::launch
