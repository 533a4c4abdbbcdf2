#include "shard/pipeline_place.h"

#include <string>

#include "base/error.h"

namespace lockstep::shard {

Range stage_layers(const model::ModelConfig& config, const PipelinePlace& place) {
  const Range all{0, static_cast<std::int32_t>(config.num_hidden_layers)};
  const Range layers = place.layers.size() > 0 ? place.layers : all;
  if ((layers.begin == 0) != (place.previous == nullptr) ||
      (layers.end == all.end) != (place.next == nullptr)) {
    throw Error("a pipeline stage of layers " + std::to_string(layers.begin) + " to " +
                std::to_string(layers.end) + " of " + std::to_string(all.end) +
                " does not suit its neighbours");
  }
  return layers;
}

}  // namespace lockstep::shard
