// The socket that the server listens on.
#pragma once

#include <string>

#include "gateway/asio.h"

namespace lockstep::gateway {

// Listens at `address` (http_address.h). Of a name's addresses, the first of IPv4 is taken, else
// the first: localhost is 127.0.0.1. Throws Error when it cannot.
asio::ip::tcp::acceptor listen(asio::io_context& io, const std::string& address);

}  // namespace lockstep::gateway
