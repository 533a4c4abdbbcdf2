// What the readers of quantization_config share.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/json_file.h"

namespace lockstep::model {

// Throws Error naming the field unless it is absent or `value`.
void require_flag(const JsonFields& fields, std::string_view key, bool value);

// "group_size": the columns of a row that share a scale, a multiple of 32. `may_be_all`: or -1, for
// all of them. Throws Error naming the field for anything else.
std::int64_t read_group_size(const JsonFields& fields, bool may_be_all);

}  // namespace lockstep::model
