// Helpers of the codecs' tests. The oracle for the byte format is nlohmann-json's own msgpack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace lockstep::comm {

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

inline std::string msgpack_of(const nlohmann::json& json) {
  const std::vector<std::uint8_t> bytes = nlohmann::json::to_msgpack(json);
  return {bytes.begin(), bytes.end()};
}

inline nlohmann::json json_of(const std::string& msgpack) {
  return nlohmann::json::from_msgpack(msgpack.begin(), msgpack.end());
}

}  // namespace lockstep::comm
