#include "comm/msgpack_message.h"

#include <algorithm>
#include <cstdint>
#include <new>

namespace lockstep::comm {
namespace {

constexpr std::size_t kMaxDepth = 8;

// Walks a message without building it. Every value takes at least one byte, so that the sum of all
// counts that headers claim can never exceed the bytes of an honest message.
struct BoundsVisitor : msgpack::null_visitor {
  explicit BoundsVisitor(std::size_t max_values) : values_left(max_values) {}

  bool start_array(std::uint32_t count) { return open(count); }
  bool start_map(std::uint32_t pairs) { return open(std::size_t{2} * pairs); }
  bool end_array() { return close(); }
  bool end_map() { return close(); }
  bool visit_ext(const char*, std::uint32_t) {
    reason = "holds an extension type";
    return false;
  }

  bool open(std::size_t values) {
    if (values > values_left) reason = "claims more values than it may hold";
    if (++depth > kMaxDepth) reason = "is nested deeper than " + std::to_string(kMaxDepth);
    if (!reason.empty()) return false;
    values_left -= values;
    return true;
  }

  bool close() {
    --depth;
    return true;
  }

  std::size_t values_left;
  std::size_t depth = 0;
  std::string reason;
};

[[noreturn]] void refuse(const std::string& why) { throw FieldFault{"", "the message " + why}; }

void check_bounds(const char* data, std::size_t size, const MessageBounds& bounds) {
  if (size > bounds.max_bytes) {
    refuse("has " + std::to_string(size) + " bytes, the limit is " +
           std::to_string(bounds.max_bytes));
  }
  BoundsVisitor visitor(std::min(bounds.max_values, size));
  std::size_t parsed = 0;
  if (!msgpack::parse(data, size, parsed, visitor)) {
    refuse(visitor.reason.empty() ? "is not one whole msgpack value" : visitor.reason);
  }
  if (parsed != size) {
    refuse("is followed by " + std::to_string(size - parsed) + " bytes that belong to nothing");
  }
}

bool refer_to_input(msgpack::type::object_type, std::size_t, void*) { return true; }

}  // namespace

msgpack::object_handle parse_message(std::span<const std::byte> bytes,
                                     const MessageBounds& bounds) try {
  const auto* data = reinterpret_cast<const char*>(bytes.data());
  const std::size_t size = bytes.size();
  check_bounds(data, size, bounds);
  return msgpack::unpack(data, size, refer_to_input, nullptr,
                         msgpack::unpack_limit(size, size, size, size, 0, kMaxDepth));
} catch (const msgpack::unpack_error&) {
  refuse("is not valid msgpack");
} catch (const std::bad_alloc&) {
  refuse("needs more memory than there is");
}

bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 0 || lead > 0xF4 || i + length > text.size()) return false;
    // The second byte's range is what excludes overlong forms, surrogates and the too large.
    const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(i + 1) < low || byte(i + 1) > high) return false;
    for (std::size_t k = 2; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

}  // namespace lockstep::comm
