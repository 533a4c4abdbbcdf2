// Llama and what shares its tensors: Llama 2 and 3, SmolLM, TinyLlama, ...
#pragma once

#include "model/family.h"

namespace lockstep::model {

extern const Family kLlamaFamily;

}  // namespace lockstep::model
