// Guesses what a sequence goes on with, for speculative decoding without a draft model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::shard {

// Of one sequence. What stood behind its last few tokens earlier, in prompt or answer, is likely to
// follow them again: names, quotations, code, whatever repeats itself (prompt lookup decoding;
// Saxena 2023, vLLM's "ngram" method). A guess costs little, but a row of the step, so there are
// more of them as long as they are right, and fewer once one is wrong.
//
// A function of its calls, so that all ranks guess the same.
class NgramDrafter {
 public:
  // At least so many last tokens must have stood together before. Fewer will do in a short text
  // that has its step for itself: there a row more costs least, and less repeats itself by chance.
  // More than kLongest are not compared.
  static constexpr std::size_t kShortest = 4, kShortestAlone = 2, kLongest = 8;
  static constexpr std::size_t kShortText = 1024;  // tokens

  // At most `most` guesses, in order, of what follows the sequence's tokens. Looks for the longest
  // run of last tokens that stood there before, the latest such. `alone`: in its step.
  // O(tokens.size()).
  std::vector<std::int32_t> draft(std::span<const std::int32_t> tokens, std::int32_t most,
                                  bool alone) const;

  // So many of the last draft()'s guesses, of which there were some, were right.
  void learn(std::int32_t drafts, std::int32_t right);

 private:
  std::int32_t pace_ = 2;  // guesses at a time
};

}  // namespace lockstep::shard
