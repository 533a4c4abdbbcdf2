// Guesses what a sequence goes on with, for speculative decoding without a draft model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::shard {

// Of one sequence. What stood behind its last few tokens earlier, in prompt or answer, is likely to
// follow them again: names, quotations, code, whatever repeats itself (prompt lookup decoding;
// Saxena 2023, vLLM's "ngram" method). Guesses cost little, but a row of the step each, so there
// are more of them as long as they are right, and fewer once one is wrong.
//
// A function of its calls, so that all ranks guess the same.
class NgramDrafter {
 public:
  // At least so many last tokens must have stood together before; fewer where the step has no other
  // sequence, since a row more costs least beside one alone. More than kLongest are not compared.
  static constexpr std::size_t kShortestAlone = 2, kShortest = 4, kLongest = 8;

  // At most `most` guesses, in order, of what follows the sequence's tokens, of which there are
  // more at every call. Looks for the longest run of last tokens that stood there before, the
  // latest such. `alone`: in its step. O(tokens.size()).
  std::vector<std::int32_t> draft(std::span<const std::int32_t> tokens, std::int32_t most,
                                  bool alone);

 private:
  void adapt(std::size_t num_tokens);

  std::int32_t pace_ = 2;        // guesses at a time
  std::size_t last_length_ = 0;  // tokens at the last call
  std::size_t last_drafts_ = 0;  // guesses then
};

}  // namespace lockstep::shard
