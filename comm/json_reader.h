// JSON text from clients to values, strictly.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace lockstep::comm {

// Members keep the order in which the client wrote them: templates show them to the model. What is
// looked up by name is searched from the front: never once a member, where a client chooses how
// many there are.
using Json = nlohmann::ordered_json;

inline constexpr std::size_t kMaxJsonDepth = 64;

// Untrusted text (RFC 8259) to a value, in time that grows as the text does. Nesting deeper than
// kMaxJsonDepth, a member that occurs twice, a number that no double holds, text that is not UTF-8
// and anything after the value are faults; their param is the path to where it happened, e.g.
// "messages[2].content". `name` is the field that the text is, and begins the path; without one it
// is the body.
Result<Json> parse_json(std::string_view text, const std::string& name = "");

// At most 64 bytes of `name`, whole characters of it where it is UTF-8: what a client wrote, short
// enough for a message about it.
std::string shortened(std::string_view name);

}  // namespace lockstep::comm
