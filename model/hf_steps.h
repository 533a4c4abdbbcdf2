// The steps of a part of a tokenizer.json: one object, or a Sequence of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/json_file.h"

namespace lockstep::model {

// The steps of the part under `key`, which a Sequence has under `list`; none of null and of a
// Sequence of none. Throws Error where a step is no object with a "type".
std::vector<nlohmann::json> read_steps(const JsonFields& fields, std::string_view key,
                                       std::string_view list);

// Their types, for an error: "Prepend + Replace"; of none "null".
std::string name_steps(const std::vector<nlohmann::json>& steps);

}  // namespace lockstep::model
