#include "comm/random_token.h"

#include <sys/random.h>

#include <array>

#include "base/error.h"

namespace lockstep::comm {

std::string random_token() {
  std::array<unsigned char, 16> bits;
  // Requests of up to 256 bytes are never cut short (getrandom(2)).
  if (getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) {
    throw Error("the operating system has no random numbers (getrandom)");
  }
  std::string token;
  for (const unsigned char byte : bits) {
    token += "0123456789abcdef"[byte >> 4];
    token += "0123456789abcdef"[byte & 15];
  }
  return token;
}

}  // namespace lockstep::comm
