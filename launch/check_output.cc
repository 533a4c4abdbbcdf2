#include "launch/check_output.h"

#include <iostream>

#include "base/error.h"

namespace lockstep::launch {

void check_output() {
  if (!std::cout.flush()) throw Error("standard output did not take all that was written to it");
}

}  // namespace lockstep::launch
