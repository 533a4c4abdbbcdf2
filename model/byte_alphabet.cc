#include "model/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace lockstep::model {
namespace {

constexpr int kNumBytes = 256;
constexpr int kAlphabetEnd = 0x100 + 68;  // 68 bytes are not printable

constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<std::uint16_t, kNumBytes> make_code_points() {
  std::array<std::uint16_t, kNumBytes> code_points{};
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < kNumBytes; ++byte) {
    code_points[byte] = is_printable(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return code_points;
}

constexpr auto kCodePointOfByte = make_code_points();

constexpr std::array<std::int16_t, kAlphabetEnd> make_bytes() {
  std::array<std::int16_t, kAlphabetEnd> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < kNumBytes; ++byte) {
    bytes[kCodePointOfByte[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}

constexpr auto kByteOfCodePoint = make_bytes();

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) {
    const std::uint16_t code_point = kCodePointOfByte[static_cast<std::uint8_t>(c)];
    if (code_point < 0x80) {
      token.push_back(static_cast<char>(code_point));
    } else {
      token.push_back(static_cast<char>(0xC0 | (code_point >> 6)));
      token.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
    }
  }
  return token;
}

std::optional<std::string> from_byte_alphabet(std::string_view token) {
  std::string bytes;
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::uint32_t code_point = static_cast<std::uint8_t>(token[i]);
    if (code_point >= 0x80) {  // the whole alphabet lies below U+0800: two bytes of UTF-8
      if (code_point < 0xC2 || code_point > 0xDF || i + 1 == token.size()) return std::nullopt;
      const auto second = static_cast<std::uint8_t>(token[++i]);
      if ((second & 0xC0) != 0x80) return std::nullopt;
      code_point = (code_point & 0x1F) << 6 | (second & 0x3F);
    }
    if (code_point >= kAlphabetEnd || kByteOfCodePoint[code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteOfCodePoint[code_point]));
  }
  return bytes;
}

}  // namespace lockstep::model
