// Stop strings in a stream of text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::coordinator {

// Finds the first stop string to be complete, as if the text came byte by byte: how the text is cut
// into pieces never changes the result. Of several that are complete at the same byte, the longest.
//
// Invariant: `held_` is the longest end of the text so far that begins a stop string, so no byte is
// emitted that could still turn out to be part of one, and none is held longer than that.
class StopStringMatcher {
 public:
  // With `include_in_output` the stop string itself is part of the text.
  // REQUIRES: none of `stop_strings` is empty; all are valid UTF-8.
  StopStringMatcher(std::vector<std::string> stop_strings, bool include_in_output);

  struct Output {
    std::string text;                    // safe to emit
    std::optional<std::string> matched;  // the text ends here
  };
  // Takes the next piece of text. With `may_match` false, a stop string that ends in this piece
  // does not count (min_tokens); one that begins in it and ends in a later piece does.
  Output push(std::string_view text, bool may_match);

  // What was held back, at the end of an answer without a match.
  std::string finish();

 private:
  const std::string* longest_ending_at(std::size_t end) const;
  std::size_t num_bytes_to_hold() const;

  std::vector<std::string> stop_strings_;
  bool include_in_output_;
  std::string held_;
};

}  // namespace lockstep::coordinator
