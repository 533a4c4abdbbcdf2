#include "model/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "model/utf8.h"

namespace lockstep::model {
namespace {

constexpr std::int32_t kEndOfRoles = 0x30000;     // behind it there are no marks, nor composed ones
constexpr std::size_t kLongestDecomposition = 4;  // of one character
constexpr auto kDecompose = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE);
constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);

// What a character is to the quick check: its combining class (0: it starts anew), or one of these.
constexpr std::uint8_t kLater = 254;      // came after Unicode 9
constexpr std::uint8_t kMayChange = 255;  // NFC_Quick_Check is No or Maybe

struct Range {
  std::int32_t first;
  std::int32_t last;
};

// Marks and composed characters from Unicode 10 to 16, with their neighbours. Sorted.
constexpr Range kLaterCharacters[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xcf3, 0xcf3},     {0xd3b, 0xd3c},     {0xeba, 0xeba},
    {0xece, 0xece},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x105c0, 0x105ff}, {0x10d00, 0x10d8f}, {0x10e80, 0x10fdf},
    {0x11070, 0x11070}, {0x11241, 0x11241}, {0x1133b, 0x1133b}, {0x11380, 0x113ff},
    {0x1145e, 0x1145e}, {0x11800, 0x1184f}, {0x11900, 0x11aaf}, {0x11d00, 0x11daf},
    {0x11f00, 0x11f5f}, {0x13430, 0x1345f}, {0x16100, 0x1613f}, {0x16d40, 0x16d7f},
    {0x16ff0, 0x16ff1}, {0x1e030, 0x1e14f}, {0x1e290, 0x1e2ff}, {0x1e4d0, 0x1e5ff},
};

bool is_later(std::int32_t code_point) {
  const auto range = std::ranges::lower_bound(kLaterCharacters, code_point, {}, &Range::last);
  return range != std::end(kLaterCharacters) && range->first <= code_point;
}

std::uint8_t combining_class(std::int32_t code_point) {
  return static_cast<std::uint8_t>(utf8proc_get_property(code_point)->combining_class);
}

struct Character {
  std::int32_t code_point;
  std::size_t size;  // in bytes
};

// REQUIRES: `text` is valid UTF-8 and does not end at `at`.
Character character_at(std::string_view text, std::size_t at) {
  Character character{};
  const utf8proc_ssize_t size =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                       static_cast<utf8proc_ssize_t>(text.size() - at), &character.code_point);
  if (size <= 0) throw Error("NFC: the text is not UTF-8");
  character.size = static_cast<std::size_t>(size);
  return character;
}

void append_decomposed(std::int32_t code_point, std::vector<std::int32_t>& characters) {
  std::array<utf8proc_int32_t, kLongestDecomposition> parts;
  int last_boundary_class = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(code_point, parts.data(), parts.size(),
                                                         kDecompose, &last_boundary_class);
  if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
    throw Error("NFC: cannot decompose a character");
  }
  characters.insert(characters.end(), parts.begin(), parts.begin() + count);
}

// Sorts the marks between two starters by combining class. utf8proc's own sort takes quadratic
// time.
void order_marks(std::vector<std::int32_t>& characters) {
  const auto is_starter = [](std::int32_t c) { return combining_class(c) == 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    const auto marks = std::find_if_not(begin, characters.end(), is_starter);
    begin = std::find_if(marks, characters.end(), is_starter);
    std::ranges::stable_sort(marks, begin, {}, combining_class);
  }
}

void compose(std::vector<std::int32_t>& characters) {
  const utf8proc_ssize_t size = utf8proc_normalize_utf32(
      characters.data(), static_cast<utf8proc_ssize_t>(characters.size()), kCompose);
  if (size < 0) throw Error("NFC: cannot compose characters");
  characters.resize(static_cast<std::size_t>(size));
}

void append_normalized(std::string_view text, std::string& normalized) {
  std::vector<std::int32_t> characters;
  for (std::size_t at = 0; at < text.size();) {
    const Character character = character_at(text, at);
    append_decomposed(character.code_point, characters);
    at += character.size;
  }
  order_marks(characters);
  compose(characters);
  for (const std::int32_t code_point : characters) {
    std::array<utf8proc_uint8_t, 4> bytes;
    const utf8proc_ssize_t size = utf8proc_encode_char(code_point, bytes.data());
    normalized.append(bytes.begin(), bytes.begin() + size);
  }
}

}  // namespace

Nfc::Nfc() : roles_(kEndOfRoles) {
  std::vector<std::int32_t> parts;
  for (std::int32_t c = 0; c < kEndOfRoles; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    if (is_later(c)) {
      roles_[c] = kLater;
      continue;
    }
    if (roles_[c] == 0) roles_[c] = combining_class(c);
    parts.clear();
    append_decomposed(c, parts);
    if (parts.size() == 1 && parts[0] == c) continue;
    const std::vector<std::int32_t> decomposed = parts;
    compose(parts);
    if (parts.size() == 1 && parts[0] == c) {
      for (std::size_t i = 1; i < decomposed.size(); ++i) roles_[decomposed[i]] = kMayChange;
    } else {
      roles_[c] = kMayChange;
    }
  }
}

std::uint8_t Nfc::role(std::int32_t code_point) const {
  return code_point < kEndOfRoles ? roles_[code_point] : 0;
}

std::string_view Nfc::normalize(std::string_view text, std::string& storage) const {
  Run run = next_run(text, 0);
  if (run.begin == text.size()) return text;
  storage.clear();
  std::size_t copied = 0;
  while (run.begin < text.size()) {
    storage.append(text.substr(copied, run.begin - copied));
    append_normalized(text.substr(run.begin, run.end - run.begin), storage);
    copied = run.end;
    run = next_run(text, copied);
  }
  return storage.append(text.substr(copied));
}

Nfc::Run Nfc::next_run(std::string_view text, std::size_t from) const {
  Run run{from, from};
  bool may_change = false;
  std::uint8_t last_class = 0;
  while (run.end < text.size()) {
    const std::size_t ascii = may_change ? 0 : ascii_prefix(text.substr(run.end));
    if (ascii > 0) {
      run.end += ascii;
      run.begin = run.end - 1;
      last_class = 0;
      continue;
    }
    const Character character = character_at(text, run.end);
    const std::uint8_t its_role = role(character.code_point);
    if (its_role == 0 || its_role == kLater) {
      if (may_change) return run;
      run.begin = its_role == 0 ? run.end : run.end + character.size;
      last_class = 0;
    } else {
      may_change = may_change || its_role == kMayChange || its_role < last_class;
      last_class = its_role;
    }
    run.end += character.size;
  }
  return may_change ? run : Run{text.size(), text.size()};
}

}  // namespace lockstep::model
