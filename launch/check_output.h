// Standard output as what a command was asked for.
#pragma once

namespace lockstep::launch {

// Flushes standard output. Throws Error when it has not taken all that was written to it (a full
// disk): an answer that is lost is no success.
void check_output();

}  // namespace lockstep::launch
