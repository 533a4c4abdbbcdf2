// Where the server listens, as it is typed.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace lockstep::gateway {

struct HttpAddress {
  std::string host;  // an IP address without brackets, or a name
  std::uint16_t port = 0;
};

// "127.0.0.1:8000", "[::1]:8000", "localhost:8000". Whether a name has an address is not asked.
Result<HttpAddress> parse_http_address(const std::string& text);

}  // namespace lockstep::gateway
