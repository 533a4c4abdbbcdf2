#include "model/utf8.h"

#include <cstdint>
#include <cstring>

namespace lockstep::model {
namespace {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

enum class SequenceKind { kWellFormed, kIllFormed, kTruncated };

// The character, or the maximal part of one, that the bytes begin with.
struct Sequence {
  SequenceKind kind;
  std::size_t size;
};

struct LeadByte {
  std::size_t size;                            // of the whole character; 0: begins none
  std::uint8_t second_lowest, second_highest;  // the range of the second byte
};

LeadByte describe_lead(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// REQUIRES: !bytes.empty().
Sequence first_sequence(std::string_view bytes) {
  const LeadByte lead = describe_lead(static_cast<std::uint8_t>(bytes[0]));
  if (lead.size == 0) return {SequenceKind::kIllFormed, 1};
  for (std::size_t i = 1; i < lead.size; ++i) {
    if (i == bytes.size()) return {SequenceKind::kTruncated, i};
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    const std::uint8_t lowest = i == 1 ? lead.second_lowest : 0x80;
    const std::uint8_t highest = i == 1 ? lead.second_highest : 0xBF;
    if (byte < lowest || byte > highest) return {SequenceKind::kIllFormed, i};
  }
  return {SequenceKind::kWellFormed, lead.size};
}

// The length of the longest well-formed beginning.
std::size_t well_formed_prefix(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    at += ascii_prefix(bytes.substr(at));
    if (at == bytes.size()) break;
    const Sequence sequence = first_sequence(bytes.substr(at));
    if (sequence.kind != SequenceKind::kWellFormed) break;
    at += sequence.size;
  }
  return at;
}

}  // namespace

std::size_t ascii_prefix(std::string_view bytes) {
  std::size_t size = 0;
  for (; size + 8 <= bytes.size(); size += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + size, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) break;
  }
  return size;
}

bool is_valid_utf8(std::string_view bytes) { return well_formed_prefix(bytes) == bytes.size(); }

std::size_t first_character_size(std::string_view text) {
  return describe_lead(static_cast<std::uint8_t>(text[0])).size;
}

std::size_t append_repaired_utf8(std::string_view bytes, bool more_follows, std::string& text) {
  std::size_t at = 0;
  while (true) {
    const std::size_t good = well_formed_prefix(bytes.substr(at));
    text.append(bytes.substr(at, good));
    at += good;
    if (at == bytes.size()) return at;
    const Sequence sequence = first_sequence(bytes.substr(at));
    if (sequence.kind == SequenceKind::kTruncated && more_follows) return at;
    text.append(kReplacementCharacter);
    at += sequence.size;
  }
}

}  // namespace lockstep::model
