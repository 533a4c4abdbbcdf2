// A model in one GGUF file.
#pragma once

#include <string>

#include "model/model.h"

namespace lockstep::model {

// See open_model().
Model open_gguf_model(const std::string& path);

}  // namespace lockstep::model
