// The shape of a model for shard/memory_plan.h.
#pragma once

#include <optional>
#include <string>

#include "model/model.h"
#include "model/outline.h"
#include "shard/rank_memory.h"

namespace lockstep::launch {

// The one list of formats by name: "bf16", "f16", "f32", "fp8", "fp8_block", "int8",
// "q8", "q4_0" and "q4".
std::string name(shard::MatrixFormat format);

// An open model; it must outlive what is returned.
shard::ModelShape shape_of(const model::Model& model);

struct PlannedShape {
  shard::ModelShape shape;
  std::string weights;  // for people: "q4_1 (as stored)", "bf16 (torch_dtype)"
};

// An outline, which must outlive what is returned, with its layers in `format` where one is given:
// else as they are stored, or as config.json says. Throws Error naming the type when that is none
// that a plan knows.
PlannedShape shape_of(const model::Outline& outline, std::optional<shard::MatrixFormat> format);

}  // namespace lockstep::launch
