// GPT-2's byte-to-unicode alphabet: each of the 256 bytes as one printable character, which is how
// byte-level vocabularies write their tokens (bytes_to_unicode in openai/gpt-2, src/encoder.py).
// A printable Latin-1 byte is its own code point; the k-th of the others is U+0100 + k.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep::model {

// `bytes` written in the alphabet, as UTF-8.
std::string to_byte_alphabet(std::string_view bytes);

// The bytes that `token` writes; nothing when a character of it is not in the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view token);

}  // namespace lockstep::model
