#include "shard/ngram_drafter.h"

#include <algorithm>

namespace lockstep::shard {
namespace {

// Where what followed the last tokens earlier begins, `shortest` of them at least; tokens.size():
// nowhere.
std::size_t find_continuation(std::span<const std::int32_t> tokens, std::size_t shortest) {
  const std::size_t last = tokens.size() - 1;
  std::size_t longest = shortest - 1, found = tokens.size();
  for (std::size_t at = last; at-- > 0 && longest < NgramDrafter::kLongest;) {
    if (tokens[at] != tokens[last]) continue;
    const std::size_t most = std::min(NgramDrafter::kLongest, at + 1);
    std::size_t length = 1;
    while (length < most && tokens[at - length] == tokens[last - length]) ++length;
    if (length > longest) {
      longest = length;
      found = at + 1;
    }
  }
  return found;
}

}  // namespace

std::vector<std::int32_t> NgramDrafter::draft(std::span<const std::int32_t> tokens,
                                              std::int32_t most, bool alone) {
  adapt(tokens.size());
  std::vector<std::int32_t> drafts;
  std::size_t next = find_continuation(tokens, alone ? kShortestAlone : kShortest);
  if (next < tokens.size()) {
    // What ends with the sequence goes on with the guesses: then it repeats itself.
    for (std::int32_t i = 0; i < std::min(pace_, most); ++i, ++next) {
      drafts.push_back(next < tokens.size() ? tokens[next] : drafts[next - tokens.size()]);
    }
  }
  last_length_ = tokens.size();
  last_drafts_ = drafts.size();
  return drafts;
}

// Twice as many and one more after guesses that were all right, else as many as were right.
void NgramDrafter::adapt(std::size_t num_tokens) {
  if (last_drafts_ == 0) return;
  // Of the tokens since then, one would have been drawn without guesses.
  const std::size_t right = std::min(num_tokens - last_length_ - 1, last_drafts_);
  if (right < last_drafts_) {
    pace_ = std::max<std::int32_t>(1, static_cast<std::int32_t>(right));
  } else if (static_cast<std::int32_t>(last_drafts_) >= pace_) {
    pace_ = 2 * pace_ + 1;
  }
}

}  // namespace lockstep::shard
