#include "gateway/listener.h"

#include <algorithm>

#include "base/error.h"
#include "gateway/http_address.h"

namespace lockstep::gateway {
namespace {

using asio::ip::tcp;

tcp::endpoint resolve(asio::io_context& io, const HttpAddress& address) {
  const auto found = tcp::resolver(io).resolve(address.host, std::to_string(address.port),
                                               tcp::resolver::numeric_service);
  const auto is_v4 = [](const auto& entry) { return entry.endpoint().protocol() == tcp::v4(); };
  const auto v4 = std::find_if(found.begin(), found.end(), is_v4);
  return v4 != found.end() ? v4->endpoint() : found.begin()->endpoint();
}

}  // namespace

tcp::acceptor listen(asio::io_context& io, const std::string& address) {
  const Result<HttpAddress> parsed = parse_http_address(address);
  if (!parsed) throw Error("http address: " + parsed.fault().message);
  try {
    return tcp::acceptor(io, resolve(io, *parsed), /*reuse_addr=*/true);
  } catch (const boost::system::system_error& error) {
    throw Error("cannot listen on " + address + ": " + error.code().message());
  }
}

}  // namespace lockstep::gateway
