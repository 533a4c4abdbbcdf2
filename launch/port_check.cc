#include "launch/port_check.h"

#include <zmq.hpp>

#include "base/error.h"
#include "gateway/listener.h"

namespace lockstep::launch {
namespace {

void check_http(const std::string& address) {
  try {
    gateway::asio::io_context io;
    gateway::listen(io, address);
  } catch (const Error& error) {
    throw Error("--http: " + std::string(error.what()));
  }
}

// The context's end waits until the socket is closed.
void check_zmq(const std::string& endpoint) {
  try {
    zmq::context_t context;
    zmq::socket_t(context, zmq::socket_type::router).bind(endpoint);
  } catch (const zmq::error_t& error) {
    throw Error("--zmq: cannot listen on " + endpoint + ": " + error.what());
  }
}

}  // namespace

void check_ports(const ServeOptions& options) {
  if (!options.http.empty()) check_http(options.http);
  check_zmq(options.zmq);
}

}  // namespace lockstep::launch
