// Whether rank 0 can have the ports that it is to serve on.
#pragma once

#include "launch/serve_options.h"

namespace lockstep::launch {

// Binds the addresses of --http and --zmq and gives them back, so that one that is taken is found
// before the weights are loaded. Throws Error naming the option and the reason.
void check_ports(const ServeOptions& options);

}  // namespace lockstep::launch
