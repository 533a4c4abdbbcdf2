// Unicode Normalization Form C: characters composed, marks in their canonical order (Unicode
// Standard Annex #15).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::model {

// The form of Unicode 9, whose data Hugging Face's tokenizers have: marks that came later are
// ordinary characters. Thread-safe: normalize() changes nothing in the object.
class Nfc {
 public:
  // Looks at every character once: a few milliseconds.
  Nfc();

  // `text` itself where it is in the form already, which it is told by one look at each character
  // beyond ASCII; otherwise what it becomes, written to `storage`. Takes O(n log n) whatever the
  // text, and memory for the longest run of characters that may change, not for the text.
  // REQUIRES: is_valid_utf8(text); `storage` holds no part of `text`.
  std::string_view normalize(std::string_view text, std::string& storage) const;

 private:
  // Bytes of a text: characters that may change, and the one before that they may combine with.
  struct Run {
    std::size_t begin;
    std::size_t end;
  };

  // The first run at `from` or later; empty, at the end of the text, where there is none.
  // REQUIRES: nothing at `from` combines with what is before it.
  Run next_run(std::string_view text, std::size_t from) const;
  std::uint8_t role(std::int32_t code_point) const;

  std::vector<std::uint8_t> roles_;  // of the first characters: see role() in nfc.cc
};

}  // namespace lockstep::model
