// ZeroMQ messages whose bytes are counted while they wait.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <zmq.hpp>

namespace lockstep::gateway {

// Shared with the messages, which other threads end.
using ByteCount = std::shared_ptr<std::atomic<std::size_t>>;
inline ByteCount make_byte_count() { return std::make_shared<std::atomic<std::size_t>>(0); }

// A message of `bytes`, which are not copied. They are part of `count` until the message's end:
// over inproc the receiver's, over a network when it is sent.
zmq::message_t counted_message(std::string bytes, ByteCount count);

}  // namespace lockstep::gateway
