#include "model/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace lockstep::model::jinja {
namespace {

struct FullMapping {
  char32_t from;
  std::string_view upper;
  std::string_view title;
};

// From Unicode's SpecialCasing.txt: the mappings to more than one letter that text meets.
constexpr std::array<FullMapping, 8> kFullMappings = {{
    {0x00DF, "SS", "Ss"},
    {0xFB00, "FF", "Ff"},
    {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"},
    {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},
}};

const FullMapping* find_full_mapping(char32_t code_point) {
  for (const FullMapping& mapping : kFullMappings) {
    if (mapping.from == code_point) return &mapping;
  }
  return nullptr;
}

utf8proc_category_t category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

void append_upper(char32_t code_point, std::string& out) {
  if (const FullMapping* full = find_full_mapping(code_point)) {
    out += full->upper;
  } else {
    append_code_point(static_cast<char32_t>(utf8proc_toupper(static_cast<int>(code_point))), out);
  }
}

void append_lower(char32_t code_point, std::string& out) {
  if (code_point == 0x0130) {
    out += "i\u0307";
  } else {
    append_code_point(static_cast<char32_t>(utf8proc_tolower(static_cast<int>(code_point))), out);
  }
}

void append_title(char32_t code_point, std::string& out) {
  if (const FullMapping* full = find_full_mapping(code_point)) {
    out += full->title;
  } else {
    append_code_point(static_cast<char32_t>(utf8proc_totitle(static_cast<int>(code_point))), out);
  }
}

bool is_cased(char32_t code_point) {
  return is_upper(code_point) || is_lower(code_point) ||
         category(code_point) == UTF8PROC_CATEGORY_LT;
}

// `step(code_point, out)` over all of `text`.
template <class Step>
std::string map_code_points(std::string_view text, Step step) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t offset = 0; offset < text.size();) step(next_code_point(text, offset), out);
  return out;
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool contains_code_point(std::string_view set, char32_t wanted) {
  for (std::size_t offset = 0; offset < set.size();) {
    if (next_code_point(set, offset) == wanted) return true;
  }
  return false;
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t offset = 0; offset < text.size();) {
    if (static_cast<unsigned char>(text[offset]) < 0x80) {
      ++offset;
      continue;
    }
    utf8proc_int32_t code_point;
    const utf8proc_ssize_t bytes =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + offset),
                         static_cast<utf8proc_ssize_t>(text.size() - offset), &code_point);
    if (bytes < 0) return offset;
    offset += static_cast<std::size_t>(bytes);
  }
  return std::string_view::npos;
}

std::size_t sequence_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0x80) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

char32_t next_code_point(std::string_view text, std::size_t& offset) {
  const std::size_t bytes = std::min(sequence_bytes(text[offset]), text.size() - offset);
  const auto lead = static_cast<unsigned char>(text[offset]);
  char32_t code_point = bytes == 1 ? lead : lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    code_point = (code_point << 6) | (static_cast<unsigned char>(text[offset + i]) & 0x3Fu);
  }
  offset += bytes;
  return code_point;
}

void append_code_point(char32_t code_point, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(count));
}

std::int64_t text_length(std::string_view text) {
  std::int64_t length = 0;
  for (const char c : text) length += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return length;
}

std::size_t byte_offset(std::string_view text, std::int64_t index) {
  std::size_t offset = 0;
  for (; index > 0 && offset < text.size(); --index) offset += sequence_bytes(text[offset]);
  return std::min(offset, text.size());
}

std::vector<std::string_view> split_code_points(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t bytes = sequence_bytes(text[offset]);
    parts.push_back(text.substr(offset, bytes));
    offset += bytes;
  }
  return parts;
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t code_point) {
  const auto c = category(code_point);
  return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t code_point) { return category(code_point) == UTF8PROC_CATEGORY_ND; }

bool is_numeric(char32_t code_point) {
  const auto c = category(code_point);
  return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool is_upper(char32_t code_point) { return utf8proc_isupper(static_cast<int>(code_point)) != 0; }

bool is_lower(char32_t code_point) { return utf8proc_islower(static_cast<int>(code_point)) != 0; }

bool is_printable(char32_t code_point) {
  const auto c = category(code_point);
  const bool separator = c >= UTF8PROC_CATEGORY_ZS && c <= UTF8PROC_CATEGORY_ZP;
  const bool other = c == UTF8PROC_CATEGORY_CN || c >= UTF8PROC_CATEGORY_CC;
  return code_point == U' ' || (!separator && !other);
}

bool is_word(char32_t code_point) {
  return code_point == U'_' || is_alpha(code_point) || is_numeric(code_point);
}

std::string to_upper(std::string_view text) { return map_code_points(text, append_upper); }

std::string to_lower(std::string_view text) { return map_code_points(text, append_lower); }

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_code_points(text, [&](char32_t code_point, std::string& out) {
    first ? append_title(code_point, out) : append_lower(code_point, out);
    first = false;
  });
}

std::string title_case(std::string_view text) {
  bool in_word = false;
  return map_code_points(text, [&](char32_t code_point, std::string& out) {
    in_word ? append_lower(code_point, out) : append_title(code_point, out);
    in_word = is_cased(code_point);
  });
}

std::string swap_case(std::string_view text) {
  return map_code_points(text, [](char32_t code_point, std::string& out) {
    is_upper(code_point) ? append_lower(code_point, out) : append_upper(code_point, out);
  });
}

std::string_view strip_text(std::string_view text, const std::string_view* characters, bool left,
                            bool right) {
  const auto stripped = [&](char32_t c) {
    return characters ? contains_code_point(*characters, c) : is_space(c);
  };
  while (left && !text.empty()) {
    std::size_t offset = 0;
    if (!stripped(next_code_point(text, offset))) break;
    text.remove_prefix(offset);
  }
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    std::size_t offset = start;
    if (!stripped(next_code_point(text, offset))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t offset = 0; offset < text.size();) {
    const std::size_t at = offset;
    const char32_t code_point = next_code_point(text, offset);
    if (!is_line_break(code_point)) continue;
    if (code_point == U'\r' && offset < text.size() && text[offset] == '\n') ++offset;
    lines.push_back(text.substr(start, (keep_ends ? offset : at) - start));
    start = offset;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace lockstep::model::jinja
