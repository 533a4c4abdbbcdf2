// Recognizes the pre-tokenizer of a tokenizer.json.
#pragma once

#include <string>

#include "model/json_file.h"

namespace lockstep::model {

// The key of TokenizerSpec::pre_tokenizer that stands for the "pre_tokenizer" of `fields` (a whole
// tokenizer.json). Throws Error that names what was found and lists the known ones.
std::string recognize_pre_tokenizer(const JsonFields& fields);

}  // namespace lockstep::model
