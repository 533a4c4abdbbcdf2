// JSON text from clients to values, strictly.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace lockstep::gateway {

// Members keep their order: in answers that in which OpenAI documents them, in requests that of the
// client, which models see in tools and in calls. To find one takes time with their number.
using Json = nlohmann::ordered_json;

inline constexpr std::size_t kMaxJsonDepth = 64;

// Untrusted text (RFC 8259) to a value. Nesting deeper than kMaxJsonDepth, a member that occurs
// twice, a number that no double holds, text that is not UTF-8 and anything after the value are
// faults; their param is the path to where it happened, e.g. "messages[2].content".
Result<Json> parse_json(std::string_view text);

// The text of `value`, on one line. Bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json& value);

// At most 64 bytes of `name`: what a client wrote, short enough for a message about it.
std::string shortened(std::string_view name);

}  // namespace lockstep::gateway
