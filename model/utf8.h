// UTF-8 as it should be, from bytes that may not be.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lockstep::model {

// True when `bytes` is well-formed UTF-8 (Unicode Standard, table 3-7: no overlong forms, no
// surrogates, nothing above U+10FFFF).
bool is_valid_utf8(std::string_view bytes);

// The size of the character that `text` begins with. REQUIRES: is_valid_utf8(text), !text.empty().
std::size_t first_character_size(std::string_view text);

// The length of the run of ASCII at the beginning, in steps of eight bytes.
std::size_t ascii_prefix(std::string_view bytes);

// Appends `bytes` to `text`, each ill-formed sequence as one U+FFFD: every maximal subpart of an
// ill-formed sequence is replaced once (Unicode Standard, section 3.9), which is what Python's
// bytes.decode("utf-8", errors="replace") does. Returns the number of bytes consumed. When
// `more_follows`, the beginning of a character at the end of `bytes` is left unconsumed (at most 3
// bytes); otherwise it is ill-formed, and everything is consumed.
std::size_t append_repaired_utf8(std::string_view bytes, bool more_follows, std::string& text);

}  // namespace lockstep::model
