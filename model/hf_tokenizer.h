// TokenizerSpec from a Hugging Face folder.
#pragma once

#include <string>

#include "model/tokenizer.h"

namespace lockstep::model {

// Reads tokenizer.json, and where they are there tokenizer_config.json and chat_template.jinja.
// Throws Error naming the file and the field; supported are byte-level BPE, with NFC or no
// normalizer, and BPE with byte_fallback.
TokenizerSpec read_hf_tokenizer(const std::string& folder);

}  // namespace lockstep::model
