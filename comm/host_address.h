// Where the other hosts of a replica reach this one.
#pragma once

#include <string>

namespace lockstep::comm {

// The numeric IPv4 address that `host_name` stands for, to bind to: ZeroMQ binds to no names.
// Loopback addresses do not count (Debian gives a machine's own name 127.0.1.1). Throws Error when
// there is no other.
std::string address_for_other_hosts(const std::string& host_name);

}  // namespace lockstep::comm
