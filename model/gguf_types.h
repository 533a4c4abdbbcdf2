// GGUF's tensor types (ggml_type of the specification).
#pragma once

#include <cstdint>
#include <string>

#include "kernels/dtype.h"

namespace lockstep::model {

// The type of that number. Throws Error "<file>: <field>: ..." naming it, and listing the supported
// ones, when it is not one of them.
kernels::DType gguf_dtype(std::uint32_t number, const std::string& file, const std::string& field);

}  // namespace lockstep::model
