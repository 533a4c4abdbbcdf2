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
                                              std::int32_t most, bool alone) const {
  const bool few_will_do = alone && tokens.size() < kShortText;
  std::vector<std::int32_t> drafts;
  std::size_t next = find_continuation(tokens, few_will_do ? kShortestAlone : kShortest);
  if (next == tokens.size()) return drafts;
  // What ends with the sequence goes on with the guesses: then it repeats itself.
  for (std::int32_t i = 0; i < std::min(pace_, most); ++i, ++next) {
    drafts.push_back(next < tokens.size() ? tokens[next] : drafts[next - tokens.size()]);
  }
  return drafts;
}

// Twice as many and one more after guesses that were all right, else as many as were right. Fewer
// than it would have made say nothing for more.
void NgramDrafter::learn(std::int32_t drafts, std::int32_t right) {
  if (right < drafts) {
    pace_ = std::max(1, right);
  } else if (drafts >= pace_) {
    pace_ = 2 * pace_ + 1;
  }
}

}  // namespace lockstep::shard
