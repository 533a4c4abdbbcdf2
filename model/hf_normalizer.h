// Recognizes the normalizer of a tokenizer.json.
#pragma once

#include "model/json_file.h"
#include "model/tokenizer.h"

namespace lockstep::model {

// Writes to `spec` what the "normalizer" of `fields` (a whole tokenizer.json) does. Throws Error
// that names what was found and what is supported.
void read_normalizer(const JsonFields& fields, TokenizerSpec& spec);

}  // namespace lockstep::model
