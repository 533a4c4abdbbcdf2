// `lockstep serve`: one rank of one replica.
#pragma once

#include "launch/serve_options.h"

namespace lockstep::launch {

// Runs this process's rank until the replica ends. Returns the exit status: 0 after SIGTERM or
// SIGINT to rank 0. A failure is logged and ends the whole MPI job.
int run_serve(const ServeOptions& options);

}  // namespace lockstep::launch
