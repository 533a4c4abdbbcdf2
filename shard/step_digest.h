// The digest by which the coordinator compares what the ranks did.
#pragma once

#include <cstdint>
#include <span>

#include "comm/message.h"

namespace lockstep::shard {

// Over the digest of the step before (0 before the first), every field of the plan and every field
// of what was sampled, floats by their bits. Equal on two ranks, to all practical purposes, only if
// they executed the same plans and chose the same tokens in all steps so far.
std::uint64_t step_digest(std::uint64_t previous, const comm::StepPlan& plan,
                          std::span<const comm::SampledToken> sampled);

}  // namespace lockstep::shard
