// A model in a Hugging Face folder.
#pragma once

#include <string>

#include "model/model.h"

namespace lockstep::model {

// See open_model().
Model open_hf_model(const std::string& folder);

}  // namespace lockstep::model
