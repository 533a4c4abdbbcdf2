// Which model a path holds, told without reading all of it.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep::model {

// A digest of a GGUF file, or of a Hugging Face folder's config.json and *.safetensors: of each,
// its name, size and time of change, its first 16 MiB (which hold the metadata and the tensors'
// names, types and places), and 256 samples of 4 KiB across the rest. It notices another model and
// another file, not a hand that changes a few weights and sets back the clock. Throws Error naming
// the file that cannot be read.
std::uint64_t model_identity(const std::string& path);

}  // namespace lockstep::model
