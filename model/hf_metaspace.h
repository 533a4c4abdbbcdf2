// Recognizes the tokenizer.json of a SentencePiece model: Llama 2, Mistral 7B.
#pragma once

#include "model/json_file.h"
#include "model/tokenizer.h"

namespace lockstep::model {

// Whether `fields` (a whole tokenizer.json) is of byte-fallback BPE.
bool falls_back_to_bytes(const JsonFields& fields);

// Writes to `spec` what its "normalizer", "pre_tokenizer" and "decoder" do with spaces. Throws
// Error that names what was found and what is supported: either the normalizer [Prepend, Replace]
// or [Replace] without a pre-tokenizer, or the pre-tokenizer Metaspace without a normalizer.
void read_metaspace(const JsonFields& fields, TokenizerSpec& spec);

}  // namespace lockstep::model
