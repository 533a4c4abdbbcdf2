// Unicode text as Python's str sees it, stored as UTF-8. Indices and lengths count code points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::model::jinja {

// The offset of the first byte that is not part of valid UTF-8, or npos.
std::size_t find_invalid_utf8(std::string_view text);

// All functions below expect valid UTF-8; in other texts they find other code points, but stay
// inside.

// The code point at byte `offset`; moves `offset` past it. REQUIRES: offset < text.size().
char32_t next_code_point(std::string_view text, std::size_t& offset);
// REQUIRES: `code_point` is not a surrogate and at most U+10FFFF.
void append_code_point(char32_t code_point, std::string& out);
// Bytes of the UTF-8 sequence that starts with `lead`.
std::size_t sequence_bytes(char lead);

std::int64_t text_length(std::string_view text);
// Byte offset of code point `index`, text.size() when there are fewer.
std::size_t byte_offset(std::string_view text, std::int64_t index);
// One string_view a code point.
std::vector<std::string_view> split_code_points(std::string_view text);

// str.isspace() and its like for one code point.
bool is_space(char32_t code_point);
bool is_alpha(char32_t code_point);
bool is_decimal(char32_t code_point);
bool is_numeric(char32_t code_point);  // any of Unicode's number categories
bool is_upper(char32_t code_point);
bool is_lower(char32_t code_point);
bool is_printable(char32_t code_point);
// \w of Python's re: letters, numbers and the underscore.
bool is_word(char32_t code_point);

// str.upper() and its like. Case mappings are Unicode's simple ones, with the full ones of sharp s
// and the Latin ligatures; the context rule of the Greek final sigma is not applied.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);
// str.title(): a word starts after anything that has no case.
std::string title_case(std::string_view text);
std::string swap_case(std::string_view text);

// Without the code points of `characters` (whitespace when it is null) at the chosen ends.
std::string_view strip_text(std::string_view text, const std::string_view* characters, bool left,
                            bool right);
// str.splitlines().
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

}  // namespace lockstep::model::jinja
