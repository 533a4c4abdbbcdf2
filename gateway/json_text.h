// JSON as the gateway reads and writes it.
#pragma once

#include <string>

#include "comm/json_reader.h"

namespace lockstep::gateway {

using comm::Json;
using comm::parse_json;
using comm::shortened;

// The text of `value`, on one line. Bytes that are not UTF-8 become U+FFFD.
inline std::string json_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lockstep::gateway
