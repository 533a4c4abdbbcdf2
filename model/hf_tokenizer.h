// TokenizerSpec from a Hugging Face folder.
#pragma once

#include <string>

#include "model/tokenizer.h"

namespace lockstep::model {

// Reads tokenizer.json, and where they are there tokenizer_config.json and chat_template.jinja.
// Throws Error naming the file and the field; only byte-level BPE, with NFC or no normalizer, is
// supported.
TokenizerSpec read_hf_tokenizer(const std::string& folder);

}  // namespace lockstep::model
