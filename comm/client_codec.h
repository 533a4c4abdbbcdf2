// The native client protocol's byte format (docs/protocol.md): one msgpack map a message, its keys
// named like the structs' fields, the first of them "type".
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/error.h"
#include "comm/client_message.h"

namespace lockstep::comm {

// A longer message is refused unread. Sockets that receive client messages set it as
// ZMQ_MAXMSGSIZE, so that a header that claims more never allocates.
inline constexpr std::size_t kMaxClientMessageBytes = std::size_t{12} << 20;

std::string encode(const ClientMessage& message);
std::string encode(const ServerMessage& message);

// Untrusted bytes to a message whose every field is within its limits. The fault's param is the
// field's name, e.g. "temperature" or "stop[3]"; unknown fields, duplicates, wrong types, numbers
// that are not finite, strings that are not UTF-8 and trailing bytes are faults.
Result<ClientMessage> decode_client_message(std::span<const std::byte> bytes);

// The same for what a server says.
Result<ServerMessage> decode_server_message(std::span<const std::byte> bytes);

// The id in bytes that decode_client_message refused, so that the client can tell which of its
// requests failed. Empty when there is none that could be sent back.
std::string readable_id(std::span<const std::byte> bytes);

}  // namespace lockstep::comm
