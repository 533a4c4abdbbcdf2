// Names and secrets that nobody can guess.
#pragma once

#include <string>

namespace lockstep::comm {

// 128 random bits from the operating system, as 32 hexadecimal digits. Throws Error.
std::string random_token();

}  // namespace lockstep::comm
