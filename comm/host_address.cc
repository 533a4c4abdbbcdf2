#include "comm/host_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <memory>

#include "base/error.h"

namespace lockstep::comm {

std::string address_for_other_hosts(const std::string& host_name) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int status = getaddrinfo(host_name.c_str(), nullptr, &hints, &found); status != 0) {
    throw Error("cannot resolve this host's name '" + host_name + "': " + gai_strerror(status));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, freeaddrinfo);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const in_addr address = reinterpret_cast<const sockaddr_in*>(each->ai_addr)->sin_addr;
    if (ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET) continue;
    std::array<char, INET_ADDRSTRLEN> text{};
    return inet_ntop(AF_INET, &address, text.data(), text.size());
  }
  throw Error("this host's name '" + host_name +
              "' stands only for loopback addresses: other hosts cannot reach it; give it its "
              "network address in /etc/hosts or in DNS");
}

}  // namespace lockstep::comm
