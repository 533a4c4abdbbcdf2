// One msgpack message as bytes: bounded reading, and the sink that writing goes to. Only the
// codecs' sources include this.
// Source: https://github.com/msgpack/msgpack/blob/master/spec.md
#pragma once

#include <cstddef>
#include <msgpack.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace lockstep::comm {

// A message that cannot be accepted: thrown while one is read, caught where decoding begins.
struct FieldFault {
  std::string field;    // its path, e.g. "entries[3].num_tokens"; empty: the message as a whole
  std::string message;  // names the field and the limit
};

// Where msgpack::packer writes.
struct StringSink {
  std::string bytes;
  void write(const char* data, std::size_t size) { bytes.append(data, size); }
};

using Packer = msgpack::packer<StringSink>;

// Bounds for reading one message.
struct MessageBounds {
  std::size_t max_bytes = 0;
  std::size_t max_values = 0;  // array elements, map keys and map values, at all depths together
};

// Parses exactly one message. Strings of the result point into `bytes`, which must outlive it.
// Memory is bounded by max_values and by the number of bytes that really are there, whatever the
// headers claim; depth is at most 8. Throws FieldFault.
msgpack::object_handle parse_message(std::span<const std::byte> bytes, const MessageBounds& bounds);

// Whether `text` is UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past
// U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace lockstep::comm
