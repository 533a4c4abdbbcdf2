// What the ends of the plan bus and of stage links do with a socket.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <zmq.hpp>

namespace lockstep::comm {

// A shard's first message. Its fields are written by the plan codec.
struct Hello {
  std::uint64_t epoch = 0;
  std::int32_t rank = 0;
  std::string token;
};

// Opens a socket whose queues and messages are bounded and which never lingers.
zmq::socket_t open_plan_socket(zmq::context_t& context, zmq::socket_type type, int queue_length);

// Whether they are equal, in a time that does not depend on where they differ.
bool same_token(const std::string& a, const std::string& b);

// Whether `socket` is readable by `deadline`; signals do not cut the wait short.
bool wait_readable(zmq::socket_ref socket, std::chrono::steady_clock::time_point deadline);

inline std::span<const std::byte> bytes_of(const zmq::message_t& message) {
  return {static_cast<const std::byte*>(message.data()), message.size()};
}

}  // namespace lockstep::comm
