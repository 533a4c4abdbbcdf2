// The tokenizer that a GGUF file describes under tokenizer.*.
#pragma once

#include <cstdint>
#include <vector>

#include "model/gguf_metadata.h"
#include "model/tokenizer.h"

namespace lockstep::model {

// Throws Error naming the file and the key. Supported are byte-level BPE (tokenizer.ggml.model
// "gpt2") with a known pre-tokenizer, and the BPE of SentencePiece ("llama").
TokenizerSpec gguf_tokenizer(const GgufMetadata& metadata);

// The tokens that end an answer: the file's end-of-sequence, end-of-turn and end-of-message ids,
// and the control tokens of `spec` that are such by their well-known names.
std::vector<std::int32_t> gguf_eos_token_ids(const GgufMetadata& metadata,
                                             const TokenizerSpec& spec);

}  // namespace lockstep::model
