// Checks of arguments that CLI11 has none for, or makes too little of: its own conversions take -1
// for the largest unsigned number. Each gives what is wrong, or an empty string.
#pragma once

#include <string>

namespace lockstep::launch {

// An integer from 0 to 2^64 - 1 in digits.
std::string check_unsigned(const std::string& text);

// A number above 0 and at most 1.
std::string check_share(const std::string& text);

// "127.0.0.1:8000", "[::1]:8000", "localhost:8000" (gateway/http_address.h).
std::string check_http_address(const std::string& address);

// "tcp://127.0.0.1:5555", "tcp://127.0.0.1:*" (a server's: any free port) or "ipc:///path". ZeroMQ
// would take a port's lowest 16 bits.
std::string check_zmq_address(const std::string& address);

// Turns "4096", "512MiB" or "4 gb" (any case, every unit a power of 1024) into bytes in digits.
std::string size_to_bytes(std::string& text);

}  // namespace lockstep::launch
