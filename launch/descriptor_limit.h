// How many files and sockets this process may have open.
#pragma once

namespace lockstep::launch {

// Raises the limit to what the system allows without privileges, up to 65,536: a login's usual
// 1,024 is less than the connections that the gateway takes, and beyond it clients are not even
// refused.
void raise_descriptor_limit();

}  // namespace lockstep::launch
