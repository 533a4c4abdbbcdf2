#include "comm/plan_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "comm/plan_codec.h"

namespace lockstep::comm {

zmq::socket_t open_plan_socket(zmq::context_t& context, zmq::socket_type type, int queue_length) {
  zmq::socket_t socket(context, type);
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::sndhwm, queue_length);
  socket.set(zmq::sockopt::rcvhwm, queue_length);
  // Without it a header that claims 8 GiB allocates 8 GiB.
  socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kMaxPlanBytes));
  return socket;
}

bool same_token(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

bool wait_readable(zmq::socket_ref socket, std::chrono::steady_clock::time_point deadline) {
  using std::chrono::milliseconds;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    std::array<zmq::pollitem_t, 1> items{{{socket.handle(), 0, ZMQ_POLLIN, 0}}};
    try {
      return zmq::poll(items, std::max(left, milliseconds(0))) > 0;
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}

}  // namespace lockstep::comm
